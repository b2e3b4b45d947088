#!/usr/bin/env python3
"""Makes the bill of materials that cargo-cyclonedx has written one of the program: `python3 .ci/sbom.py FILE`

cargo-cyclonedx goes by `cargo metadata`, which also has crates of features that are off. What it writes names the
folder that it ran in, and has no serial number, without which the code host attests nothing.
"""

import json
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ["cargo", "tree", "--locked", "--package", "totp-facade", "--target", "x86_64-unknown-linux-gnu"]


def crates():
    """The crates that the program is built of, by cargo's own account, as names and versions."""
    tree = [*TREE, "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(tree, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    return {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, lines)}


def of_program(bom, crates, folder):
    """A bill of these crates alone; raises ValueError if it lacks one, or the licence of one."""
    text = json.dumps(bom).replace(f"path+file://{folder}#", "").replace("?download_url=file://.", "")
    bom = json.loads(text)
    main = bom["metadata"]["component"]
    kept = [it for it in bom["components"] if (it["name"], it["version"]) in crates]
    if missing := crates - {(it["name"], it["version"]) for it in [main, *kept]}:
        raise ValueError(f"the bill of materials lacks {sorted(missing)}")
    if unlicensed := [it["name"] for it in kept if not it.get("licenses")]:
        raise ValueError(f"no licence is known of {unlicensed}")
    refs = {it["bom-ref"] for it in [main, *kept]}
    bom["components"] = kept
    bom["dependencies"] = [
        it | ({"dependsOn": [ref for ref in it["dependsOn"] if ref in refs]} if "dependsOn" in it else {})
        for it in bom["dependencies"] if it["ref"] in refs
    ]
    if "file://" in (text := json.dumps(bom)):
        raise ValueError("the bill of materials names files of this machine")
    # The same bill has the same number.
    return bom | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    try:
        bom = of_program(json.loads(file.read_text()), crates(), ROOT)
    except ValueError as error:
        sys.exit(str(error))
    file.write_text(json.dumps(bom, indent=2) + "\n")
