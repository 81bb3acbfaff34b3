"""How many parameters does a model have, and how many bytes are they?

transformers builds the model on torch's meta device: all of its modules, none of their storage.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from profkit.errors import OptionError

if TYPE_CHECKING:
    from profkit.models.shape import ModelShape

WEIGHT_BITS: Final[dict[str, float]] = {
    "fp32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "int8": 8,
    "int4": 4,
}
"""Formats of weights and their bits an element. Scales of quantized ones are not in it."""
_TORCH_NAMES: Final = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8"}


@dataclass(frozen=True)
class Weights:
    """Parameters by what a step does with them. All None where `reason` says why they were not counted."""

    parameters: int | None = None  # tied ones once
    active_parameters: int | None = None  # without the experts that a token is not sent to
    lookup_parameters: int | None = None  # embedding tables of which a step only reads rows; tied ones are not
    reason: str | None = None


def count_weights(shape: ModelShape) -> Weights:
    """Count the parameters of a shape's whole model, an encoder and towers for images or sound included."""
    try:
        model = _on_meta(copy.deepcopy(shape.config))  # building fills in fields
    except ImportError:
        return Weights(reason="counting parameters needs torch and transformers: pip install 'profkit[hf]'")
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, NotImplementedError) as error:
        return Weights(reason=f"transformers cannot build this {shape.model_type!r} model: {error}")
    if model is None:
        return Weights(reason=f"transformers has no model that generates for a {shape.model_type!r} config")
    parameters = sum(parameter.numel() for parameter in model.parameters())  # each once, however often it is used
    idle = sum(group.count * (group.experts - group.active_experts) * group.expert_matrices for group in shape.mlps)
    return Weights(parameters, parameters - idle, _lookup(model))


def weight_format(dtype: str) -> str:
    """The name in `WEIGHT_BITS` of a format given as ours or torch's.

    Raises:
        OptionError: it is neither.
    """
    name = _TORCH_NAMES.get(str(dtype).removeprefix("torch."), dtype)
    if name not in WEIGHT_BITS:
        raise OptionError(f"weights_dtype is one of {', '.join(WEIGHT_BITS)}, not {dtype!r}")
    return name


def weight_bytes(elements: int, dtype: str) -> int:
    """Bytes of so many elements, without scales."""
    return math.ceil(elements * WEIGHT_BITS[weight_format(dtype)] / 8)


def _on_meta(config: Any) -> Any:
    import torch
    import transformers

    named = [getattr(transformers, name, None) for name in getattr(config, "architectures", None) or ()]
    makers = [cls for cls in named if cls is not None and hasattr(cls, "_from_config")]
    with torch.device("meta"):
        if makers:
            return makers[0]._from_config(config)
        # Whisper's decoder alone is also a causal LM: the whole model is asked for first.
        for auto in (
            transformers.AutoModelForSeq2SeqLM,
            transformers.AutoModelForSpeechSeq2Seq,
            transformers.AutoModelForCausalLM,
        ):
            if type(config) in auto._model_mapping:
                return auto.from_config(config)
    return None


def _lookup(model: Any) -> int:
    """Elements of embedding tables that are not also the matrix of another layer."""
    from torch import nn

    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    for module in model.modules():
        if not isinstance(module, nn.Embedding):
            for parameter in module.parameters(recurse=False):
                tables.pop(id(parameter), None)
    return sum(table.numel() for table in tables.values())
