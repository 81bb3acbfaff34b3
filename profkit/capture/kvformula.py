"""What the architecture says that a token costs in the KV cache: plain numbers for the record."""

from __future__ import annotations

from typing import Final

from profkit.capture.kvcache import KVRecorder
from profkit.capture.kvlayers import QUANTIZED, Stored
from profkit.errors import ProfkitError
from profkit.models.shape import LayerKind, ModelShape
from profkit.models.shape_costs import kv_bytes, kv_bytes_per_token

_MANY: Final = 2**40
"""Tokens beyond every window."""

Formula = dict[str, dict[str, int | float | None]]


class NoFormulaError(Exception):
    """The architecture's part is not known; the message says why."""


def kv_formula(recorder: KVRecorder) -> Formula:
    """For each kind of layer, what one sequence costs, all layers of the kind together.

    `layers`; `bytes_per_token`, while the layers grow; `window`, the tokens that they keep at most (None: all);
    `fixed_bytes`, whatever the length.

    Raises:
        NoFormulaError: several models ran, or the architecture or the cache's format is unknown.
    """
    found = list(recorder.models.values())
    if len(found) != 1:
        raise NoFormulaError(f"{len(found)} models ran steps" if found else "no KV cache of a model was read")
    model, stored = found[0]
    if stored.dtype is None:
        raise NoFormulaError("the format of the quantized cache is not one whose size is known")
    try:
        return _formula(ModelShape.of(getattr(model, "_orig_mod", model)), stored)
    except ProfkitError as reason:
        raise NoFormulaError(str(reason)) from reason


def _formula(shape: ModelShape, stored: Stored) -> Formula:
    dtype = str(stored.dtype)
    layers = {str(group.kind): 0 for group in shape.layers}
    for group in shape.layers:
        layers[str(group.kind)] += group.count
    if stored.quantized:
        return {QUANTIZED: _row(sum(layers.values()), kv_bytes_per_token(shape, dtype))}
    empty, one = (kv_bytes(shape, tokens, kv_dtype=dtype, source_tokens=1) for tokens in (0, 1))
    many = kv_bytes(shape, _MANY if not stored.static else 0, kv_dtype=dtype, static=_room(stored), source_tokens=1)
    formula: Formula = {}
    for kind, count in layers.items():
        if kind == LayerKind.SHARED:
            continue  # reads what other layers hold
        if kind == LayerKind.LINEAR:
            formula[kind] = _row(count, None, fixed=empty[kind])
        elif kind in (LayerKind.SLIDING, LayerKind.CHUNKED):  # transformers caches a chunk like a window
            formula[str(LayerKind.SLIDING)] = _row(count, one[kind], window=many[kind] // one[kind])
        else:
            formula[kind] = _row(count, one[kind])
    return formula


def _room(stored: Stored) -> int | None:
    return _MANY if stored.static else None


def _row(
    layers: int, per_token: float | None, window: int | None = None, fixed: int = 0
) -> dict[str, int | float | None]:
    return {"layers": layers, "bytes_per_token": per_token, "window": window, "fixed_bytes": fixed}
