"""What did the steps of each point have to do? Counted from the model's shape, for their floors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from profkit.analysis.samples import Sample
from profkit.analysis.sweep import AxisValue, SweepPhase
from profkit.errors import ProfkitError
from profkit.models.ops import step_ops
from profkit.models.shape import ModelShape
from profkit.models.shape_costs import kv_bytes

_SAME: Final = 0.02
"""Buffers and the odd bias are no part of a shape; a quantized or pruned model differs by far more."""


class NoWorkError(ProfkitError):
    """The work of a sweep's steps cannot be told; the message says why."""


def sweep_work(
    modules: Sequence[Any],
    axes: Mapping[str, Mapping[AxisValue, Any]],
    points: Mapping[int, Mapping[str, Any]],
    samples: Iterable[Sample],
) -> dict[str, Any]:
    """The model's shape and the work of each point's prefill and decode step, as `SweepMeta.model` holds them.

    A point's step is the one of median size: {"dtype": …, "parameters": …, "work": [{"point", "phase", "ops"}]} with
    ops as [name, FLOPs, bytes].

    Args:
        modules: that the cell uses.
        axes: objects by label; an axis may hold the models themselves.
        points: rows by number.
        samples: of all points.

    Raises:
        NoWorkError: no or several models, one whose shape is not known or whose weights are not those of its shape.
    """
    chosen, candidates = _models(modules, axes)
    shapes = {id(model): _shape(model) for model in candidates}
    if chosen is None and len(shapes) != 1:
        raise NoWorkError(
            f"the cell uses {len(shapes)} models" if shapes else "the cell names no model with a transformers config"
        )
    work = []
    for (number, phase), sizes in _steps(samples).items():
        model = axes[chosen][points[number][chosen]] if chosen else candidates[0]
        dtype = _dtype(model)
        ops = step_ops(shapes[id(model)], *sizes, weights_dtype=dtype, kv_dtype=dtype)
        work.append({"point": number, "phase": phase, "ops": [[op.name, op.flops, op.bytes] for op in ops]})
    if not work:
        raise NoWorkError("no step was seen whose batch and context are known")
    first = candidates[0]
    return {
        "name": type(getattr(first, "_orig_mod", first)).__name__,
        "dtype": _dtype(first),
        "parameters": shapes[id(first)].parameters,
        "work": work,
    }


def planned_bytes(
    modules: Sequence[Any], axes: Mapping[str, Mapping[AxisValue, Any]], labels: Mapping[str, AxisValue]
) -> int | None:
    """What a point's weights and KV cache take at its `batch` and `context`, bytes.

    None where a size or the shape is not known, or the model does not lie on one device.
    """
    chosen, candidates = _models(modules, axes)
    batch, context = labels.get("batch"), labels.get("context")
    if not isinstance(batch, int) or not isinstance(context, int) or batch < 1 or context < 1:
        return None
    if chosen is None and len({id(candidate) for candidate in candidates}) != 1:
        return None
    model = axes[chosen][labels[chosen]] if chosen else candidates[0]
    inner = getattr(model, "_orig_mod", model)
    weights = list(inner.parameters())  # each once, however often it is used
    if len({parameter.device for parameter in weights}) != 1:
        return None
    try:
        cache = kv_bytes(ModelShape.of(inner.config), context, batch, kv_dtype=_dtype(model))
    except ProfkitError:
        return None
    return sum(parameter.nbytes for parameter in weights) + sum(cache.values())


def _models(modules: Sequence[Any], axes: Mapping[str, Mapping[AxisValue, Any]]) -> tuple[str | None, list[Any]]:
    """The axis that holds models, if one does, and the models that the cell may use."""
    chosen = next((name for name, axis in axes.items() if all(map(_has_config, axis.values()))), None)
    return chosen, list(axes[chosen].values()) if chosen else [module for module in modules if _has_config(module)]


def _has_config(value: Any) -> bool:
    return hasattr(value, "parameters") and hasattr(value, "config") and hasattr(value, "get_input_embeddings")


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")


def _shape(model: Any) -> ModelShape:
    """The shape of a model whose weights are what its shape says.

    Raises:
        NoWorkError: it is not known, or they are not: of a quantized model the bytes that a step reads are not known.
    """
    inner = getattr(model, "_orig_mod", model)
    name = type(inner).__name__
    try:
        shape = ModelShape.of(inner.config)
        expected = shape.parameters
    except ProfkitError as error:
        raise NoWorkError(f"the shape of {name} is not known: {error}") from error
    held = {id(parameter): parameter for parameter in inner.parameters()}
    elements = sum(parameter.numel() for parameter in held.values())
    size = sum(parameter.nbytes for parameter in held.values())
    if expected is None or abs(elements - expected) > _SAME * expected:
        raise NoWorkError(f"{name} has {elements:,} parameters, by its config {expected or 'an unknown number'}")
    if abs(size - elements * inner.dtype.itemsize) > _SAME * size:
        raise NoWorkError(f"the weights of {name} are of several dtypes: what a step reads is not known")
    return shape


def _steps(samples: Iterable[Sample]) -> dict[tuple[int, str], tuple[int, int, int]]:
    """(batch, new tokens, context) of the median step of each point and phase, where all are known."""
    sizes: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
    for sample in samples:
        if sample["phase"] == SweepPhase.TOTAL or sample["context_tokens"] is None:
            continue
        size = (sample["step_batch"], sample["query_tokens"], sample["context_tokens"])
        sizes.setdefault((sample["point"], sample["phase"]), []).append(size)
    return {key: _middle(found) for key, found in sizes.items()}


def _middle(sizes: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    batch, query, context = (round(median(column)) for column in zip(*sizes, strict=True))
    return batch, query, context
