"""Which weights does one decode step read, whatever the batch?"""

from __future__ import annotations

from typing import Any


class UnknownWeightsError(Exception):
    """It cannot be told for this model; the message says why."""


def decode_weights(model: Any) -> tuple[int, int]:
    """(bytes, GPU) of the weights that every decode step of a dense decoder reads once.

    All of them count but the input embedding, of which a step reads one row a sequence; where the output
    layer shares it, it counts.

    Raises:
        UnknownWeightsError: the model's structure is not known to be such a decoder, or it lies on several
            devices.
    """
    model = getattr(model, "_orig_mod", model)
    name, config = type(model).__name__, getattr(model, "config", None)
    if config is None or not hasattr(model, "get_input_embeddings"):
        raise UnknownWeightsError(f"{name} has no transformers config that tells its structure")
    if getattr(config, "is_encoder_decoder", False):
        raise UnknownWeightsError(f"{name} has an encoder, whose weights a decode step does not read")
    if any(hasattr(config, part) for part in ("vision_config", "audio_config")):
        raise UnknownWeightsError(f"{name} has towers for other media, whose weights a decode step does not read")
    if any("experts" in part for part, _ in model.named_modules()):
        raise UnknownWeightsError(f"{name} is a mixture of experts: its tokens decide which weights a step reads")
    parameters = {id(p): p for p in model.parameters()}
    devices = {p.device for p in parameters.values()}
    if len(devices) != 1 or next(iter(devices)).type != "cuda":
        raise UnknownWeightsError(f"{name} does not lie on one GPU")
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    head = model.get_output_embeddings()
    if embedding is not None and getattr(head, "weight", None) is not embedding:
        parameters.pop(id(embedding), None)
    return sum(p.nbytes for p in parameters.values()), next(iter(devices)).index or 0
