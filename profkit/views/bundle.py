"""Where the widgets' JavaScript is, and is it the one that these sources give?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_VIEWS: Final = Path(__file__).parent
FRONTEND: Final = _VIEWS / "frontend"
"""The TypeScript sources; a wheel leaves them out."""
SCRIPT: Final = _VIEWS / "static" / "profile.js"
STYLE: Final = _VIEWS / "static" / "profile.css"
MAX_BYTES: Final = 120 * 1000
"""Of both files together. A saved notebook holds them once a widget."""

_BUILD_FILES: Final = ("build.mjs", "package-lock.json", "tsconfig.json")
_BANNER: Final = re.compile(rb"/\* sources sha256:([0-9a-f]{64}) \*/")


def sources_digest() -> str:
    """SHA-256 over what the bundle is made of, in order of path; `build.mjs` computes the same."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(path.encode() + b"\0" + (FRONTEND / path).read_bytes() + b"\0")
    return digest.hexdigest()


def built_from(path: Path) -> str | None:
    """The digest of the sources that a built file says it was made of, in its first line."""
    with path.open("rb") as file:
        found = _BANNER.match(file.readline())
    return found[1].decode() if found else None


def is_stale() -> bool:
    """Whether the bundle is older than its sources; never, where the sources are not installed."""
    if not FRONTEND.is_dir():
        return False
    wanted = sources_digest()
    return any(not path.is_file() or built_from(path) != wanted for path in (SCRIPT, STYLE))


def _sources() -> Iterator[str]:
    """Paths relative to the frontend, with forward slashes."""
    yield from _BUILD_FILES
    for path in (FRONTEND / "src").rglob("*"):
        if path.is_file():
            yield path.relative_to(FRONTEND).as_posix()
