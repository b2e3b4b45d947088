"""The files of deploy/ as they are, but for the places that a user edits too."""

import sys

from facade import ROOT


def edited(name, places, repeated=()):
    """The text of a file with other addresses and paths. Each place has to be there, so that none stays as it was
    because it has moved. `repeated` is a text and what stands for it, several times: its line is repeated as often."""
    text = (ROOT / "deploy" / name).read_text()
    if repeated:
        old, new = repeated
        lines = text.splitlines(keepends=True)
        found = [line for line in lines if old in line]
        if len(found) != 1:
            sys.exit(f"deploy/{name} has {len(found)} lines with {old!r}, but expected 1")
        text = text.replace(found[0], "".join(found[0].replace(old, each) for each in new))
    for old, new in places.items():
        if old not in text:
            sys.exit(f"deploy/{name} has no {old!r}")
        text = text.replace(old, str(new))
    return text
