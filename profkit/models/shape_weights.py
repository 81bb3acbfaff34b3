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


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored."""

    bits: int
    scale_bits: float = 0.0  # of scales and zero points, an element
    quantized: bool = False  # the layers' matrices only: embeddings, head, norms and biases stay in 16 bits


WEIGHT_FORMATS: Final[dict[str, WeightFormat]] = {
    "fp32": WeightFormat(32),
    "bf16": WeightFormat(16),
    "fp16": WeightFormat(16),
    "fp8": WeightFormat(8, 32 / 1024, quantized=True),
    "int8": WeightFormat(8, 32 / 1024, quantized=True),
    "int4": WeightFormat(4, (16 + 4) / 128, quantized=True),
}
"""fp8 and int8 with an fp32 scale for each output channel, of 1,024 inputs or more; int4 with a 16-bit scale and
a 4-bit zero point for 128 elements (GPTQ, arXiv 2210.17323, and AWQ, arXiv 2306.00978, as commonly published)."""
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
        model = on_meta(shape.config)
    except ImportError:
        return Weights(reason="counting parameters needs torch and transformers: pip install 'profkit[hf]'")
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, NotImplementedError) as error:
        return Weights(reason=f"transformers cannot build this {shape.model_type!r} model: {error}")
    if model is None:
        return Weights(reason=f"transformers has no model that generates for a {shape.model_type!r} config")
    parameters = sum(parameter.numel() for parameter in model.parameters())  # each once, however often it is used
    idle = sum(group.count * (group.experts - group.active_experts) * group.expert_matrices for group in shape.mlps)
    return Weights(parameters, parameters - idle, _lookup(model))


def weight_format(dtype: str) -> WeightFormat:
    """The format of this name, ours or torch's.

    Raises:
        OptionError: there is none.
    """
    return WEIGHT_FORMATS[weight_name(dtype)]


def weight_name(dtype: str) -> str:
    """The name in `WEIGHT_FORMATS`; raises as `weight_format` does."""
    name = _TORCH_NAMES.get(str(dtype).removeprefix("torch."), dtype)
    if name not in WEIGHT_FORMATS:
        raise OptionError(f"weights_dtype is one of {', '.join(WEIGHT_FORMATS)}, not {dtype!r}")
    return name


def weight_bytes(elements: int, dtype: str) -> int:
    """Bytes of so many elements, without scales."""
    return math.ceil(elements * weight_format(dtype).bits / 8)


def stored_bytes(shape: ModelShape, dtype: str, gpus: int = 1, replicated: int = 0) -> int | None:
    """Bytes that the weights of the whole model take on each of `gpus` GPUs; None where they cannot be counted.

    The decoder's matrices are divided, but for `replicated` elements of them; everything else (embedding tables
    that are not the head too, norms, biases, an encoder, towers) is on every GPU. Quantized formats apply to the
    matrices of the decoder's layers, with their scales.
    """
    parameters = shape.weights.parameters
    if parameters is None:
        return None
    form = weight_format(dtype)
    matrices = shape.matrices - shape.head_matrices
    bits = form.bits + form.scale_bits
    plain = 16 if form.quantized else form.bits
    held = replicated + (matrices - replicated) / gpus
    rest = parameters - matrices - shape.head_matrices + shape.head_matrices / gpus
    return math.ceil((held * bits + rest * plain) / 8)


def on_meta(config: Any) -> Any:
    """The model of a transformers config without storage; None where there is none that generates."""
    import torch
    import transformers

    config = copy.deepcopy(config)  # building fills in fields
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
