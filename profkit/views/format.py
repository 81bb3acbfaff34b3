"""How does a number, a date or a kernel's name read for people? Every view uses these words and no others.

Numbers keep three significant digits and always carry their unit; what was not measured is "n/a".
"""

from __future__ import annotations

import datetime as dt
import math
import re
import unicodedata
from typing import Final

NOT_AVAILABLE: Final = "n/a"
THIN: Final = "\u202f"
"""Narrow no-break space between groups of three digits (ISO 31-0): no country reads it as a decimal sign."""
MINUS: Final = "\u2212"
ELLIPSIS: Final = "…"

_TIME: Final = ((1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s"), (60e9, "min"), (3600e9, "h"))
_LONGEST_IN: Final = {"s": 600e9, "min": 2 * 3600e9}
"""People compare runs of a few minutes in seconds, longer ones in minutes."""
_SIZE: Final = ((1.0, "bytes"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"))

_MEMORY: Final = ((1.0, "bytes"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"), (2.0**40, "TiB"))


def number(value: float | None, digits: int = 3) -> str:
    """`value` with this many significant digits, or all of its integer part: ``26.4``, ``1 542``."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    return _grouped(value, max(digits - 1 - _exponent(value, digits), 0))


def count(value: int | None) -> str:
    """A whole number: ``48 792``."""
    return NOT_AVAILABLE if value is None else _grouped(value, 0)


def duration(ns: float | None) -> str:
    """A time in ns: ``1.21 s``, ``37.6 ms``, ``2.4 µs``, ``240 ns``."""
    return _scaled(ns, _TIME)


def size(size_bytes: float | None) -> str:
    """A size in bytes, in powers of 1000: ``17.3 GB``."""
    return _scaled(size_bytes, _SIZE)


def memory(size_bytes: float | None) -> str:
    """Memory of a GPU, which is bought in powers of 1024: ``139 GiB``, ``128 KiB``."""
    if size_bytes is None or not math.isfinite(size_bytes):
        return NOT_AVAILABLE
    factor, unit = next((step for step in reversed(_MEMORY) if abs(size_bytes) >= step[0]), _MEMORY[0])
    return f"{number(size_bytes / factor) if factor > 1 else count(round(size_bytes))} {unit}"


def power(watts: float | None) -> str:
    """``231 W``."""
    return _with_unit(watts, "W")


def energy(joules: float | None, error_j: float | None = None) -> str:
    """``412 ± 24 J``: the error with two digits, the value as far as the error goes."""
    if joules is None or error_j is None or not error_j or not math.isfinite(error_j):
        return _with_unit(joules, "J")
    decimals = max(1 - _exponent(error_j, 2), 0)
    return f"{_grouped(joules, decimals)} ± {_grouped(error_j, decimals)} J"


def energy_per_token(joules: float | None) -> str:
    """``12.9 J/token``."""
    return _with_unit(joules, "J/token")


def rate(per_second: float | None, what: str = "tokens") -> str:
    """``26.4 tokens/s``."""
    return _with_unit(per_second, f"{what}/s")


def share(part: float | None) -> str:
    """A part of one: ``17.8 %``; a part too small for that is ``< 0.1 %``, never 0."""
    if part is None or not math.isfinite(part):
        return NOT_AVAILABLE
    percent = 100 * part
    if 0 < abs(percent) < 0.05:
        return "< 0.1 %"
    return f"{_grouped(percent, 0 if percent in (0, 100) else 1)} %"


def date(iso: str) -> str:
    """An ISO 8601 time as ``2026-11-24 20:00 UTC``; what is no time stays as it is."""
    try:
        moment = dt.datetime.fromisoformat(iso)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):  # of a year before 1 or after 9999
        return clean(iso)
    return moment.strftime("%Y-%m-%d %H:%M") + (" UTC" if moment.tzinfo else "")


def plural(number_of: int, one: str, many: str | None = None) -> str:
    """``1 step``, ``31 steps``."""
    return f"{count(number_of)} {one if number_of == 1 else many or one + 's'}"


def clean(text: str) -> str:
    """`text` on one line, without control characters and marks that reverse the writing of what follows."""
    return "".join(char if char.isprintable() else " " for char in text)


def columns(text: str) -> int:
    """Columns that a terminal needs for it; never fewer than characters."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """`text` with spaces up to a number of columns."""
    space = " " * max(width - columns(text), 0)
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, the middle left out: both ends of a kernel's name tell it apart."""
    if columns(text) <= width:
        return text
    head, tail = _fitting(text, width // 2), _fitting(text[::-1], (width - 1) // 2)[::-1]
    return head + ELLIPSIS + tail if width > 0 else ""


_ANONYMOUS: Final = re.compile(r"\(anonymous namespace\)::|\(anonymous class\)::|<unnamed>::")
_GENERIC: Final = re.compile(r"kernel\d*|device_kernel|run|main_kernel", re.IGNORECASE)
"""Function names that say nothing: what tells these kernels apart is around or inside them."""
_FUNCTOR: Final = re.compile(r"\b(\w*(?:[Ff]unctor|Ops)\w*|\w+_kernel(?:_cuda|_impl)?|\w+_cuda_out)\b")
_WRAPPERS: Final = re.compile(r"(Binary|AUnary|BUnary|UnaryOp|BinaryOp|TernaryOp)Functor|gpu_kernel\w*")
_IMPLEMENTATION: Final = re.compile(r"(_kernel)?(_cuda(_out)?|_impl)?$")


def short_name(kernel: str, width: int = 60) -> str:
    """A readable form of a C++ kernel name in at most `width` (≥ 1) characters.

    Return type, namespaces, template arguments and parameters go; the functor that tells elementwise and
    reduction kernels apart stays. Names that are no C++ signatures (nvjet, Triton, copies) stay as they are.

    >>> short_name("void at::native::reduce_kernel<512, ReduceOp<float, at::native::MeanOps<float> > >(int)")
    'reduce_kernel · MeanOps'
    """
    name = clean(kernel).strip()
    if ("<" in name or "(" in name) and not re.match(r"Mem(cpy|set)\b", name):
        name = _signature(name) or name
    return cut(name or "(no name)", max(width, 1))


def _signature(name: str) -> str:
    name = _ANONYMOUS.sub("", name)
    outer, arguments = _outer(name)
    path = outer.split()[-1].split("::") if outer.split() else []
    words = [word for word in path if word]
    if not words:
        return ""
    function = words[-1]
    functor = _functor(arguments, function)
    if _GENERIC.fullmatch(function):
        first = re.match(r"\s*(?:\w+::)*(\w+)", arguments)
        if "utlass" in outer and first:
            return first[1]
        function = "::".join(words[-2:])
    return f"{function} · {functor}" if functor else function


def _outer(name: str) -> tuple[str, str]:
    """What is outside all brackets up to the parameters, and the template arguments of the function."""
    outer: list[str] = []
    depth, start, arguments = 0, 0, ""
    for at, char in enumerate(name):
        if char in "<({[":
            if char == "(" and depth == 0 and outer:
                break
            depth += 1
            start = at + 1 if depth == 1 else start
        elif char in ">)}]":
            # An arrow or a comparison has no partner.
            depth = max(depth - 1, 0)
            arguments = name[start:at] if depth == 0 and char == ">" else arguments
        elif depth == 0:
            outer.append(char)
    return "".join(outer), arguments


def _functor(arguments: str, function: str) -> str:
    """What an elementwise or reduction kernel computes, from its template arguments."""
    for match in _FUNCTOR.finditer(arguments):
        found = match[1]
        if found == function or _WRAPPERS.fullmatch(found):
            continue
        return _IMPLEMENTATION.sub("", found) or found
    return ""


def _fitting(text: str, width: int) -> str:
    """As much of the beginning of `text` as `width` columns hold."""
    used = 0
    for at, char in enumerate(text):
        used += columns(char)
        if used > width:
            return text[:at]
    return text


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    for (factor, unit), (larger, _) in zip(units, (*units[1:], (math.inf, "")), strict=True):
        # 999.6 ms reads "1.00 s": it is the rounded value that has to fit its unit.
        limit = _LONGEST_IN.get(unit, larger)
        if abs(_rounded(value / factor)) * factor < limit:
            whole = factor == 1.0 and float(value).is_integer()
            return f"{_grouped(value, 0) if whole else number(value / factor)} {unit}"
    return NOT_AVAILABLE


def _with_unit(value: float | None, unit: str) -> str:
    text = number(value)
    return text if text == NOT_AVAILABLE else f"{text} {unit}"


def _rounded(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits - 1}e}")


def _exponent(value: float, digits: int) -> int:
    """Decimal exponent of `value` after rounding."""
    rounded = abs(_rounded(value, digits))
    return math.floor(math.log10(rounded)) if rounded else 0


def _grouped(value: float, decimals: int) -> str:
    text = f"{abs(value):,.{decimals}f}".replace(",", THIN)
    negative = value < 0 and any(digit in text for digit in "123456789")
    return MINUS + text if negative else text
