"""Which parts of a cell's code are secrets? They are cut out before the code enters a record.

A key is known by its own form or by the name that it is given to. In doubt it goes: a record is sent to
others, and the cell itself stays as it is.
"""

from __future__ import annotations

import re
from typing import Final

REDACTED: Final = "…redacted…"

_KEY: Final = re.compile(
    r"""
    \b(?: hf_[A-Za-z0-9]{16,}              # Hugging Face
        | sk-[\w-]{16,}                    # OpenAI, Anthropic
        | gh[opusr]_[A-Za-z0-9]{16,}       # GitHub
        | github_pat_\w{16,}
        | glpat-[\w-]{16,}                 # GitLab
        | (?:AKIA|ASIA)[A-Z0-9]{16}        # AWS
        | AIza[\w-]{30,}                   # Google
        | nvapi-[\w-]{16,}                 # NVIDIA
        | xox[abprs]-[\w-]{10,}            # Slack
        | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*  # JSON web token
    )""",
    re.VERBOSE,
)
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL)
_BEARER: Final = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{16,}")
_URL_LOGIN: Final = re.compile(r"(\w://)[^\s/@'\"]+(?=@)")

_NAME: Final = (
    r"[\w-]*(?:token|secret|passw(?:or)?d|pwd|credentials?|authorization"
    r"|(?:api|access|secret|private|auth|account)[_-]?key)(?:[_-](?:id|key|value))?"
)
_URL_PARAMETER: Final = re.compile(rf"(?i)([?&](?:{_NAME}|key|sig|signature)=)[^\s&#'\"]+")

_LITERAL: Final = (
    r"[rbfu]{0,2}"
    r"(?:\"{3}.*?\"{3}|'{3}.*?'{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
)
_ASSIGNED: Final = re.compile(
    # `name = "…"`, `name: str = "…"`, `d["name"] = "…"`, `{"name": "…"}` and `f("name", "…")`,
    # with more literals behind the first where Python joins them.
    rf"(?<![\w-])(?:(?P<name>{_NAME})[\"'\])\s]*(?::[\w\[\] .|]+)?[=:]{{1,2}}|[\"'](?P<key>{_NAME})[\"']\s*,)"
    rf"[\s(]*(?P<value>{_LITERAL}(?:\s*{_LITERAL})*)",
    re.IGNORECASE | re.DOTALL,
)
_LOGIN_KEY: Final = re.compile(r"(\bkey\s*=\s*[\"'])[\w-]{20,}(?=[\"'])")  # wandb.login(key="…")

# What a tokenizer calls a token, and the values that it has.
_VOCABULARY: Final = re.compile(r"(?i)(?:pad|eos|bos|unk|sep|cls|mask|special|stop|next|new|last|first)_token$")
_SPECIAL_TOKEN: Final = re.compile(r"<[^<>]*>|\[[A-Z_]+\]|")

_SHELL_CELL: Final = re.compile(r"\s*%%(?:bash|sh|script|system|!)")
_SHELL_LINE: Final = re.compile(r"\s*(?:[!%]|export\s)")
_SHELL_SECRET: Final = re.compile(rf"(?i)((?<![\w-])(?:--?)?{_NAME}(?:=|\s+)[\"']?)(?![-$=<>|&…])[^\s'\"]+")


def redact(text: str) -> str:
    """The code of a cell with ``…redacted…`` for what looks like a key, a token or a password."""
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _KEY.sub(REDACTED, text)
    for pattern in (_BEARER, _URL_LOGIN, _URL_PARAMETER, _LOGIN_KEY):
        text = pattern.sub(rf"\1{REDACTED}", text)
    text = _ASSIGNED.sub(_without_values, text)
    shell = _SHELL_CELL.match(text) is not None
    return "\n".join(
        _SHELL_SECRET.sub(rf"\1{REDACTED}", line) if shell or _SHELL_LINE.match(line) else line
        for line in text.split("\n")
    )


def _without_values(match: re.Match[str]) -> str:
    """The assignment with its strings emptied, unless its name is one of a vocabulary."""
    whole = match[0]
    if _VOCABULARY.search(match["name"] or match["key"]):
        return whole
    head = whole[: match.start("value") - match.start()]
    return head + re.sub(_LITERAL, _without_content, match["value"], flags=re.IGNORECASE | re.DOTALL)


def _without_content(match: re.Match[str]) -> str:
    literal = match[0]
    quoted = literal.lstrip("rbfuRBFU")
    quote = quoted[:3] if quoted[:3] in {'"""', "'''"} else quoted[0]
    if _SPECIAL_TOKEN.fullmatch(quoted[len(quote) : -len(quote)]):
        return literal
    return literal[: len(literal) - len(quoted)] + quote + REDACTED + quote
