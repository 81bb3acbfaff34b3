r"""Where are this GPU's measured ceilings kept between processes?

One JSON file for each GPU, driver and torch, in the user's cache folder: $PROFKIT_CACHE if it is set, else
$XDG_CACHE_HOME/profkit or ~/.cache/profkit (Linux), ~/Library/Caches/profkit (macOS), %LOCALAPPDATA%\profkit
(Windows).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from profkit.hardware.ceilings import Ceilings, from_dict

_FORMAT: Final = 1
"""Of the files and of how the figures are measured: a change of either makes old files unread."""


def folder() -> Path:
    """The cache folder; it may not exist yet."""
    if given := os.environ.get("PROFKIT_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "profkit"


def path_of(gpu: Mapping[str, Any], environment: Mapping[str, Any]) -> Path:
    """The file of one GPU: of its entry in `environment["gpus"]`, its driver and torch.

    Memory, SMs and the power limit are part of it: a slice of a GPU and a throttled one have figures of their own.
    """
    known = [gpu.get(name) for name in ("name", "memory_bytes", "sms", "power_limit_w")]
    torch = (environment.get("packages") or {}).get("torch")
    key = json.dumps([_FORMAT, *known, environment.get("driver"), environment.get("cuda"), torch])
    name = re.sub(r"[^A-Za-z0-9]+", "-", str(gpu.get("name"))).strip("-").lower()
    return folder() / "ceilings" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"


def load(path: Path) -> Ceilings | None:
    """What is kept; None where nothing is, and where the file is damaged, which a warning says."""
    try:
        return from_dict(msgspec.json.decode(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        warnings.warn(f"{path} holds no ceilings ({error}): they have to be measured again", stacklevel=3)
        return None


def save(path: Path, ceilings: Ceilings) -> None:
    """Keep `ceilings`; a warning says where that fails. The file is whole or not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as aside:
            aside.write(msgspec.json.format(msgspec.json.encode(ceilings), indent=1))
        try:
            os.replace(aside.name, path)
        except OSError:
            Path(aside.name).unlink(missing_ok=True)
            raise
    except OSError as error:
        warnings.warn(f"the ceilings cannot be kept in {path}: {error.strerror or error}", stacklevel=3)
