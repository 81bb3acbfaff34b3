"""How does a record leave for a review: every figure that it can fill, and its summary, as files."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from profkit.analysis.summary import summarize
from profkit.errors import OptionError, ProfkitError, nearest
from profkit.record import Record

FORMATS: Final = ("svg", "pdf", "png")


def export(record: Record, folder: str | os.PathLike[str], formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `<kind>.<format>` for each figure, `summary.md` and `summary.json`; the paths written.

    The same record gives the same bytes. A file is written aside and renamed: an older one stays whole.

    Raises:
        OptionError: an unknown format.
        ProfkitError: the folder cannot be written.
    """
    from profkit.views.figures import available, figure
    from profkit.views.figures.base import rendered
    from profkit.views.report import markdown

    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    for name in formats:
        if name not in FORMATS:
            raise OptionError(f"no figure format {name!r}{nearest(name, FORMATS)}")
    target, written = Path(folder), []
    for kind in available(record):
        drawn = figure(record, kind)
        written += [_write(target / f"{kind}.{name}", rendered(drawn, name)) for name in formats]
    written.append(_write(target / "summary.md", markdown(record).encode()))
    written.append(_write(target / "summary.json", summary_json(record).encode()))
    return written


def summary_json(record: Record) -> str:
    """The summary as JSON; what was not measured is null."""
    data = _finite(summarize(record).to_dict())
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as aside:
            aside.write(data)
        try:
            os.chmod(aside.name, 0o644)
            os.replace(aside.name, path)
        except OSError:
            Path(aside.name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ProfkitError(
            f"cannot write {path}: {error.strerror or error}. Choose another folder or free some space."
        ) from error
    return path
