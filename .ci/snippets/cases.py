"""Requests, and the snippets that send them."""

import json
import re
import subprocess
import uuid
from dataclasses import dataclass

from expect import PATIENCE
from snippets.contract import ECHO, MESSAGES, METHODS
from snippets.languages import LANGUAGES
from snippets.tools import HERE

DEADLINE = 1_000 * PATIENCE  # milliseconds
TOKEN = "the-token-of-the-façade".encode().hex()

# Texts that mean something to a shell, to a compiler or to the reader of the snippet.
TEXTS = [
    "",
    "plain",
    "-starts like a flag",
    "quotes \" ' `, a backslash \\, \\n, \\u0041, \\\\",
    "$HOME ${HOME} $(id) `id` !! !x %s %d {} {0} #{x}",
    "two\nlines\r\n\tand a tab",
    "JSON\nJSON\n",
    "*/ /* // # <!-- --> </script> )\" )json\" \"# \"## \"\"\" ''' EOF ??/ ??=",
    "ünïcödé 日本語 🔑 e\u0301 \ufffd",
    "unseen \u00ad \u061c \u200b \u200e \u2028 \u2029 \u202e \u2066 \ufeff \ufff9 \x7f \x85",
    "\x00controls \x01 \x07 \b \f \x1b1 \x1f",
    "\U000e0041 \U0010ffff",
    "proto.String strings.Split os.Getenv datetime. \0(text",
]
OBJECT = {
    **{f"key {text}": text for text in TEXTS},
    "": None,
    "booleans": [True, False],
    "numbers": [0, -1, 1.5, 2**53, -(2**53), 123456789012345680000, 1e21, 1e300, 5e-324],
    "nested": {"list": [1, [], {}, None, [None, {"deep": [{}]}]], "object": {"empty": {}}},
    "constructor": 1,
    "__proto__": {"toString": 1},
}
# A secret, and a list of secrets, as they stand in the environment.
SECRET = "secret \" ' \\ \\n $HOME $(id) `id` !! é"
SECRETS = f'{SECRET},second,"third\\"'
# Requests that a form may have while one types. Snippets are written, but not built.
DRAFTS = [
    {},
    {"organization_id": None, "texts": [], "flag": None},
    {"organization_id": "half a pair \ud83d", "expiration_minutes": "five", "number": 1.5},
]
NONSENSE = re.compile(r"undefined|NaN|\[object|\\u[dD]83[dD]|\0")
# What the form holds in a secret field: no snippet may.
TYPED = "typed-into-the-form"


@dataclass
class Snippet:
    language: str
    name: str
    options: dict
    text: str = ""
    variables: tuple = ()

    @property
    def method(self):
        return self.options["method"]

    @property
    def title(self):
        """What a program calls its call."""
        return self.method["name"].rpartition(".")[2]


def snippet(language, prefix, method, request, address, **options):
    method = METHODS[method]
    name = "_".join([prefix, *method["command"]]).replace("-", "_")
    return Snippet(
        language,
        name,
        {
            "method": method,
            "messages": MESSAGES,
            "request": request,
            "deadlineMs": DEADLINE,
            "key": key(method, ""),
            "address": address,
            "tls": False,
            "token": False,
            "program": "totp-facade",
        }
        | options,
    )


def key(method, suffix="'\"${HOME}`!\\~*#"):
    """A key as the form may have it: visible ASCII."""
    return None if method["reads_only"] else f"{uuid.uuid4()}{suffix}"


def write(snippets):
    """Fills in the texts, as the page would."""
    cases = [{"language": it.language, "options": it.options} for it in snippets]
    done = subprocess.run(
        ["node", HERE / "write.mjs"], input=json.dumps(cases), text=True, capture_output=True
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    printed = json.loads(done.stdout)
    assert printed["languages"] == list(LANGUAGES), printed["languages"]
    for it, written in zip(snippets, printed["written"]):
        it.text, it.variables = written["text"], written["variables"]


def full(method):
    """A request with every field, and a hostile value in each."""
    texts = iter(TEXTS[2:] * 2)
    fields = MESSAGES[METHODS[method]["request"]]["fields"]
    return {field["name"]: value_of(field, texts) for field in fields}


def value_of(field, texts):
    if field["secret"]:
        return TYPED
    match field["type"], field["repeated"]:
        case "string", True:
            return TEXTS
        case "string", False:
            return next(texts)
        case "int32", repeated:
            return [0, -7, 2**31 - 1] if repeated else -7
        case "bool", repeated:
            return [True, False] if repeated else True
        case "object", _:
            return {} if field["name"].startswith("empty") else OBJECT


def with_secrets(method, request):
    """The request as it must arrive: secrets are those of the environment."""
    secrets = {it["name"]: it for it in MESSAGES[method["request"]]["fields"] if it["secret"]}
    return {
        name: (SECRETS.split(",") if secrets[name]["repeated"] else SECRET)
        if name in secrets
        else value
        for name, value in request.items()
    }


def environment(snippet):
    """Values for the variables of a snippet."""
    lists = {
        field["name"].upper()
        for message in MESSAGES.values()
        for field in message["fields"]
        if field["repeated"]
    }
    values = {name: SECRETS if name in lists else SECRET for name in snippet.variables}
    return values | ({"TOTP_FACADE_TOKEN": TOKEN} if snippet.options["token"] else {})


def methods_of(language):
    """The command line has the methods of its own contract only."""
    return [name for name in METHODS if name != ECHO or language != "cli"]
