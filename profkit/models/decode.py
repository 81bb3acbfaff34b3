"""Decode steps and prefills of a transformers model at a given batch and context, without generating up to there.

What a step costs depends on shapes, not on what was read before: the cache is filled with random numbers. Each decode
step writes the last slot of a full cache and attends to all of it, so that every step of a point does the same work,
eagerly or replayed as one CUDA graph.
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Iterator
from typing import Any, Final

from profkit.capture.session import step, unrecorded
from profkit.errors import OptionError, ProfkitError


class DecodeLoop:
    """Decode steps of one batch at one context.

    Args:
        model: a causal language model of transformers whose layers attend to the whole context.
        batch: sequences.
        context: tokens per sequence that a step attends to, its own included.
        graph: replay each step as one CUDA graph; needs a GPU.
        seed: of the cache and the first tokens.

    Raises:
        OptionError: a size that cannot be, or a graph without a GPU.
        ProfkitError: the model's layers keep something else than keys and values of all tokens.
    """

    def __init__(self, model: Any, batch: int, context: int, graph: bool = False, seed: int = 0) -> None:
        import torch

        if batch < 1 or context < 1:
            raise OptionError(f"batch and context are 1 or more, not {batch} and {context}")
        if graph and model.device.type != "cuda":
            raise OptionError(f"a CUDA graph needs a GPU, and the model lies on the {model.device.type}")
        self._model, self.batch, self.context = model, batch, context
        self._device = model.device.index if model.device.type == "cuda" else None
        self._argument = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        generator = torch.Generator(model.device).manual_seed(seed)
        with torch.inference_mode(), unrecorded(model):
            shape = (batch, 1)
            self.ids = torch.randint(0, model.config.vocab_size, shape, generator=generator, device=model.device)
            self._positions = torch.full(shape, context - 1, device=model.device)
            self._cache = _full_cache(model, batch, context, generator)
            self._graph = self._captured() if graph else None

    def step(self) -> Any:
        """One decode step, marked for a profile; returns the new token ids [B, 1], which the next step reads."""
        import torch

        with (
            torch.inference_mode(),
            step("decode", batch=self.batch, context_tokens=self.context - 1, device=self._device),
        ):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._forward()
        return self.ids

    def _forward(self) -> None:
        with _unmasked(self._model.config):
            output = self._model(
                input_ids=self.ids, position_ids=self._positions, use_cache=True, **{self._argument: self._cache}
            )
        self.ids.copy_(output.logits[:, -1:].argmax(-1))

    def _captured(self) -> Any:
        """One step as a CUDA graph; three eager ones on a side stream before it, as CUDA's capture asks for."""
        import torch

        side = torch.cuda.Stream(self._model.device)
        side.wait_stream(torch.cuda.current_stream(self._model.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self._forward()
        torch.cuda.current_stream(self._model.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._forward()
        return graph


_UNMASKED: Final = "profkit_sdpa"


@contextlib.contextmanager
def _unmasked(config: Any) -> Iterator[None]:
    """SDPA without a mask while the block runs.

    One token that attends to all of its cache needs none. But while a graph is captured transformers makes one, and
    with a mask it copies the keys and values to each query head. An attention that has no mask function gets none.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    before = config._attn_implementation
    if before != "sdpa":
        yield
        return
    AttentionInterface.register(_UNMASKED, sdpa_attention_forward)
    config._attn_implementation = _UNMASKED
    try:
        yield
    finally:
        config._attn_implementation = before


_newest: dict[str, Any] = {}
"""The loop that `decode` used last: its cache may be most of a GPU's memory, so there is never a second."""


def decode(model: Any, batch: int, context: int, steps: int = 8, graph: bool = False) -> Any:
    """So many decode steps at this batch and context; returns the last token ids [B, 1].

    The cache (and the graph) of the newest batch and context are kept for the next call. `forget` frees them.

    Raises:
        OptionError, ProfkitError: as `DecodeLoop`.
    """
    key = (batch, context, graph)
    if _newest.get("key") != key or _newest["model"]() is not model:
        forget()
        loop = DecodeLoop(model, batch, context, graph)
        _newest.update(key=key, model=weakref.ref(model), loop=loop)
    loop = _newest["loop"]
    for _ in range(steps):
        loop.step()
    return loop.ids


def forget() -> None:
    """Free what `decode` keeps."""
    import sys

    _newest.clear()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def prefill(model: Any, batch: int, context: int, seed: int = 0) -> Any:
    """Read a random prompt of so many tokens per sequence; returns each sequence's first new token id [B, 1]."""
    import torch

    ids = torch.randint(0, model.config.vocab_size, (batch, context), generator=torch.Generator().manual_seed(seed))
    device = model.device.index if model.device.type == "cuda" else None
    ids = ids.to(model.device)
    with torch.inference_mode(), step("prefill", batch, context, context_tokens=0, tokens_out=batch, device=device):
        return model(input_ids=ids, use_cache=True, logits_to_keep=1).logits.argmax(-1)


def _full_cache(model: Any, batch: int, context: int, generator: Any) -> Any:
    """A cache with random keys and values [B, H, T, d] in every layer, whose last slot each step overwrites."""
    import torch
    from transformers.cache_utils import Cache, DynamicLayer

    class FullLayer(DynamicLayer):
        """Keeps its length; only the last token changes."""

        def __init__(self, like: Any) -> None:
            super().__init__()
            self.device, self.dtype, self.is_initialized = like.keys.device, like.keys.dtype, True
            for name in ("keys", "values"):
                _, heads, _, width = getattr(like, name).shape
                tensor = torch.empty(batch, heads, context, width, dtype=self.dtype, device=self.device)
                setattr(self, name, tensor.normal_(generator=generator))

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            keys: Any = self.keys
            values: Any = self.values
            keys[:, :, -1:].copy_(key_states)
            values[:, :, -1:].copy_(value_states)
            return keys, values

        def get_seq_length(self, *_: Any) -> int:
            return context - 1

        def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
            return context, 0

    seen = model(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=model.device), use_cache=True)
    layers = (seen.cache if "cache" in seen else seen.past_key_values).layers
    for layer in layers:
        if type(layer) is not DynamicLayer:
            raise ProfkitError(
                f"{type(model).__name__} has layers that keep a {type(layer).__name__}: decode steps without a prompt "
                "are made for layers that keep keys and values of all tokens"
            )
    return Cache(layers=[FullLayer(layer) for layer in layers])
