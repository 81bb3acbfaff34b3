"""What was a model called with, and what did it return: tokens, cache and mask, told by name and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_TOKEN_ARGUMENTS: Final = ("decoder_input_ids", "input_ids", "inputs_embeds", "decoder_inputs_embeds")
_PACKED_ARGUMENTS: Final = ("cu_seq_lens_q", "cu_seqlens_q")
_CACHE_ARGUMENTS: Final = ("past_key_values", "cache", "cache_params", "kv_cache")


def token_shape(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, int] | None:
    """(batch, tokens per sequence) of the ids or embeddings in a call, else None."""
    candidates = [kwargs[name] for name in _TOKEN_ARGUMENTS if kwargs.get(name) is not None]
    candidates += args
    for value in candidates:
        shape = getattr(value, "shape", None)
        dtype = getattr(value, "dtype", None)
        if shape is None or dtype is None:
            continue
        embedded = getattr(dtype, "is_floating_point", False)
        if len(shape) == 3 and embedded:
            return int(shape[0]), int(shape[1])
        if not embedded and len(shape) == 2:
            return int(shape[0]), int(shape[1])
        if not embedded and len(shape) == 1:
            return 1, int(shape[0])
    return None


def prompt_tokens(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Tokens per sequence that a generate call was given for the decoder; None: unknown."""
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None  # `generate` makes the decoder's prompt itself
    shape = token_shape((kwargs.get("inputs"), *args[:1]), kwargs)
    return shape[1] if shape is not None else None


def beams(model: Any, kwargs: Mapping[str, Any]) -> int:
    """Beams of a generate call's search; 1 where it does not search."""
    config = kwargs.get("generation_config") or getattr(model, "generation_config", None)
    asked = kwargs.get("num_beams", getattr(config, "num_beams", None))
    return asked if isinstance(asked, int) and asked > 1 else 1


def returned_tokens(output: Any) -> int | None:
    """Tokens per sequence that a generate call returned; None: it returned something else."""
    shape = token_shape((getattr(output, "sequences", output),), {})
    return shape[1] if shape is not None else None


def _holds_kv(value: object) -> bool:
    """Whether an argument or a result is a cache of transformers: by its look, a wrong guess reads nothing."""
    return hasattr(value, "layers") and hasattr(value, "get_seq_length")


def cache_of(kwargs: Mapping[str, Any], args: Sequence[Any] = ()) -> Any:
    """The cache that a call was given; None: none that is known by its name or its look."""
    named = next((kwargs[name] for name in _CACHE_ARGUMENTS if kwargs.get(name) is not None), None)
    return named if named is not None else next(filter(_holds_kv, args), None)


def cache_in(output: Any) -> Any:
    """The cache that a forward returned."""
    if isinstance(output, Mapping):
        return cache_of(output)
    return next(filter(_holds_kv, output), None) if isinstance(output, tuple) else None


def is_packed(kwargs: Mapping[str, Any]) -> bool:
    """Whether a call packs several sequences into one row."""
    return any(kwargs.get(name) is not None for name in _PACKED_ARGUMENTS)


def encoded_tokens(kwargs: Mapping[str, Any]) -> int | None:
    """Tokens per sequence of an encoder's output in a call; None: unknown."""
    encoded = kwargs.get("encoder_outputs")
    first = encoded[0] if isinstance(encoded, tuple | list) and encoded else getattr(encoded, "last_hidden_state", None)
    shape = getattr(first, "shape", None)
    return int(shape[1]) if shape is not None and len(shape) == 3 else None


def mask_of(kwargs: Mapping[str, Any]) -> Any:
    """The attention mask of the decoder's tokens in a call."""
    decoder = any(kwargs.get(name) is not None for name in _TOKEN_ARGUMENTS if name.startswith("decoder"))
    return kwargs.get("decoder_attention_mask" if decoder else "attention_mask")


def cache_length(cache: Any) -> int | None:
    """Tokens in a cache, if it knows them as a number of the host."""
    if isinstance(cache, tuple | list):
        shape = getattr(cache[0][0] if cache and cache[0] else None, "shape", None)
        return int(shape[-2]) if shape is not None else None
    try:
        length = cache.get_seq_length()
    except Exception:  # noqa: BLE001 - a foreign object, and a state-space model's cache has no length
        return None
    if isinstance(length, int):
        return length
    device = getattr(getattr(length, "device", None), "type", None)
    return int(length) if device == "cpu" else None
