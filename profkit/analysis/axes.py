"""What may an axis, an objective or a duration be, in Python and on a magic's line?"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from profkit.analysis.sweep import POINTS, SLOS, TABLE, AxisValue
from profkit.errors import OptionError, nearest

UNITS: Final = {"batch": "sequences", "context": "tokens", "prompt": "tokens", "tokens": "tokens", "output": "tokens"}
"""The word behind the values of an axis of this name."""

Axis = dict[AxisValue, Any]
"""Values of an axis by the label that a record keeps."""

_DURATION_NS: Final = {"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9}
_TAKEN: Final = frozenset({*POINTS.names, *TABLE})


def axes_of(given: Mapping[str, Any]) -> dict[str, Axis]:
    """The axes as `profkit.sweep` was given them: sequences of values, or dicts from label to value.

    Raises:
        OptionError: there is none, one has no value or one twice, or a name is that of a column.
    """
    if not given:
        raise OptionError("a sweep needs an axis, such as batch=[1, 2, 4]")
    return {name: _axis(name, values) for name, values in given.items()}


def _axis(name: str, values: Any) -> Axis:
    if name in _TAKEN:
        raise OptionError(f"axis {name!r} has the name of a column of the table: call it otherwise")
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise OptionError(f"axis {name!r} is a list of values, such as {name}=[{values!r}], not {values!r}")
    if isinstance(values, Mapping):
        labels, objects = [label(key) for key in values], list(values.values())
    else:
        objects = list(values)
        labels = [label(value) for value in objects]
    if not objects:
        raise OptionError(f"axis {name!r} has no value")
    labels = _of_one_kind(labels)
    twice = next((key for at, key in enumerate(labels) if key in labels[:at]), None)
    if twice is not None:
        raise OptionError(
            f"axis {name!r} has {twice!r} twice; where two values only read the same, name them: "
            f"{name}={{'a': …, 'b': …}}"
        )
    return dict(zip(labels, objects, strict=True))


def label(value: Any) -> AxisValue:
    """How a record names a value of an axis: numbers and words as they are, dtypes and functions by their name.

    Raises:
        OptionError: a number that no table can hold.
    """
    item = getattr(value, "item", None)
    if callable(item) and not getattr(value, "shape", ()):
        value = item()  # numpy's and torch's numbers
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{value} is no value of an axis")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OptionError(f"{value} is too large for a value of an axis")
    if isinstance(value, bool | int | float | str):
        return value
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    if isinstance(name, str):
        return name
    text = str(value)
    if type(value).__module__.partition(".")[0] == "torch" and text.startswith("torch."):
        return text.removeprefix("torch.")
    return text if len(text) <= 40 else type(value).__name__


def _of_one_kind(labels: list[AxisValue]) -> list[AxisValue]:
    """A column has one type: words where values are of several."""
    kinds = {type(value) for value in labels}
    if kinds <= {int, float} and len(kinds) == 2:
        return [float(value) for value in labels]
    return labels if len(kinds) == 1 else [str(value) for value in labels]


def parse_axis(word: str) -> tuple[str, list[AxisValue]]:
    """``batch=1,2,4`` as a name and values: numbers, True and False, else words.

    Raises:
        OptionError: no name, no value, or an empty one.
    """
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise OptionError(f"{word!r} is no axis: write name=value,value, such as batch=1,2,4")
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise OptionError(f"axis {name!r} has an empty value in {word!r}")
    return name, [_literal(part) for part in parts]


def _literal(text: str) -> AxisValue:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, bool | int | float | str) else text


def parse_duration(text: str) -> int:
    """``30ms``, ``2 min``, in ns.

    Raises:
        OptionError: it is no duration above 0 with a unit.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zµμ]+)\s*", text)
    if match is None or match[2] not in _DURATION_NS:
        raise OptionError(f"{text!r} is no duration: write a number and {', '.join(('ms', 's', 'min', 'us', 'ns'))}")
    ns = round(float(match[1]) * _DURATION_NS[match[2]])
    if not 0 < ns < 2**62:
        raise OptionError(f"{text!r} is no duration above 0")
    return ns


def slo_of(given: Mapping[str, str | int] | str | None) -> dict[str, int]:
    """Objectives in ns, from ``"tpot=30ms,ttft=500ms"`` or {"tpot": "30ms"}; a bare number is ns.

    Raises:
        OptionError: an objective that is unknown or given twice, or a limit that is no duration.
    """
    if given is None:
        return {}
    pairs = [_pair(part, "tpot=30ms") for part in given.split(",")] if isinstance(given, str) else list(given.items())
    limits: dict[str, int] = {}
    for name, value in pairs:
        if name not in SLOS:
            raise OptionError(f"no objective {name!r}{nearest(name, SLOS)}")
        if name in limits:
            raise OptionError(f"objective {name!r} is given twice")
        if isinstance(value, str):
            limits[name] = parse_duration(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
            limits[name] = value
        else:
            raise OptionError(f"objective {name!r} is a duration such as '30ms', or whole ns above 0, not {value!r}")
    return limits


def points_of(given: Mapping[str, Any] | str | None, axes: Mapping[str, Axis]) -> dict[str, AxisValue]:
    """Values that single points out, from ``"batch=32,context=512"`` or {"batch": 32}.

    Raises:
        OptionError: an axis or a value that the sweep does not have.
    """
    if not given:
        return {}
    pairs = [_pair(part, "batch=32") for part in given.split(",")] if isinstance(given, str) else list(given.items())
    chosen: dict[str, AxisValue] = {}
    for name, value in pairs:
        if name not in axes:
            raise OptionError(f"no axis {name!r} to trace at{nearest(name, axes)}")
        wanted = _literal(value) if isinstance(given, str) else label(value)
        found = next((key for key in axes[name] if key == wanted or str(key) == str(wanted)), None)
        if found is None:
            raise OptionError(f"axis {name!r} has no value {value!r}; it has {', '.join(map(str, axes[name]))}")
        chosen[name] = found
    return chosen


def _pair(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise OptionError(f"{text!r} is not of the form {example}")
    return name.strip(), value.strip()
