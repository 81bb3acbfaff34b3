"""What was an operator given: the shapes and types of its tensors in a line of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

_SHORT: Final = {
    "c10::BFloat16": "bf16",
    "c10::Half": "f16",
    "float": "f32",
    "double": "f64",
    "long int": "i64",
    "long": "i64",
    "int": "i32",
    "short": "i16",
    "short int": "i16",
    "signed char": "i8",
    "unsigned char": "u8",
    "bool": "bool",
    "c10::Float8_e4m3fn": "f8e4m3",
    "c10::Float8_e5m2": "f8e5m2",
    "c10::complex<float>": "c64",
    "c10::complex<double>": "c128",
}
_NO_TENSOR: Final = frozenset({"", "Scalar", "ScalarList"})
_LIST: Final = "TensorList"
_MOST: Final = 6
"""Tensors of a list that are named one by one."""


def inputs_text(types: Sequence[str], dims: Sequence[Any]) -> str:
    """``[1, 512, 4096] bf16, [4096, 4096] bf16``: the tensors of one operator in the order of its arguments.

    Args:
        types: Kineto's "Input type" of each argument.
        dims: its "Input Dims": sizes of a tensor, of each tensor of a list, empty of all else.
    """
    return ", ".join(_tensor(kind, sizes) for kind, sizes in zip(types, dims, strict=False) if kind not in _NO_TENSOR)


def _tensor(kind: str, sizes: Sequence[Any]) -> str:
    if kind != _LIST:
        return f"{list(sizes)} {_SHORT.get(kind) or kind.removeprefix('c10::')}"
    named = [str(list(one)) for one in sizes[:_MOST] if isinstance(one, Sequence)]
    more = [f"{len(sizes) - _MOST} more"] if len(sizes) > _MOST else []
    return f"list of {', '.join(named + more)}" if named else "list"


def kineto_inputs(text: str) -> tuple[list[str], list[Any]]:
    """Kineto's "Input type" and "Input Dims" that `inputs_text` gives as `text`, tensors that it left out apart."""
    types: list[str] = []
    dims: list[Any] = []
    for match in _ONE.finditer(text):
        if match["dims"] is not None:
            types.append(_LONG.get(match["type"], match["type"]))
            dims.append(_sizes(match["dims"]))
        else:
            types.append(_LIST)
            dims.append([_sizes(one) for one in _DIMS.findall(match["listed"] or "")])
    return types, dims


_LONG: Final = {short: kineto for kineto, short in reversed(_SHORT.items())}
_DIMS: Final = re.compile(r"\[[^\]]*\]")
_ONE: Final = re.compile(
    r"list(?: of (?P<listed>\[[^\]]*\](?:, \[[^\]]*\](?=,|$))*(?:, \d+ more)?))?|(?P<dims>\[[^\]]*\]) (?P<type>[^,]+)"
)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text[1:-1].split(",") if size.strip()]
