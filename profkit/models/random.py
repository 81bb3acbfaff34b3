"""Models with real shapes and random weights: what a kernel costs depends on shapes, not on what was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from profkit.errors import OptionError, ProfkitError, nearest


@dataclass(frozen=True)
class LlamaShape:
    """The sizes that make a Llama."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_position_embeddings: int

    @property
    def parameters(self) -> int:
        """Weights in all: embeddings, attention, MLP, norms, head."""
        h, kv = self.hidden_size, self.hidden_size * self.num_key_value_heads // self.num_attention_heads
        layer = 2 * h * h + 2 * h * kv + 3 * h * self.intermediate_size + 2 * h
        return self.num_hidden_layers * layer + 2 * self.vocab_size * h + h


SHAPES: Final = {
    "tiny": LlamaShape(256, 688, 4, 8, 2, 2048, 2048),
    # Llama 3.1 8B: its config.json, meta-llama/Llama-3.1-8B.
    "8b": LlamaShape(4096, 14336, 32, 32, 8, 128256, 131072),
}
_ROOM: Final = 1.25
"""Free memory that a model needs, by the size of its weights: cache, activations, workspaces."""


def size_that_fits() -> str:
    """The largest of `SHAPES` that has room here: "8b" needs a GPU with 20 GB free, for weights in bf16."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        if free > _ROOM * 2 * SHAPES["8b"].parameters:
            return "8b"
    return "tiny"


def random_llama(size: str | None = None, *, device: str | None = None, dtype: Any = None) -> Any:
    """A LlamaForCausalLM with random weights, ready to generate.

    Args:
        size: "tiny" (a few MB) or "8b"; by default `size_that_fits()`.
        device: by default the GPU, where there is one.
        dtype: by default bfloat16 on a GPU, float32 on a CPU.

    Raises:
        OptionError: an unknown size.
        ProfkitError: transformers is not installed.
    """
    size = size or size_that_fits()
    if size not in SHAPES:
        raise OptionError(f"no Llama of size {size!r}{nearest(size, SHAPES)}")
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ProfkitError("random_llama needs transformers: pip install 'profkit[hf]'") from error
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or (torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32)
    shape = SHAPES[size]
    # An end token among random logits would end some sequences early, by chance.
    config = LlamaConfig(**vars(shape), bos_token_id=1, eos_token_id=None, pad_token_id=0)
    with torch.device(device):
        model = LlamaForCausalLM._from_config(config, dtype=dtype)
    return model.eval()


def random_prompt(model: Any, batch: int, tokens: int, seed: int = 0) -> dict[str, Any]:
    """Inputs for `model.generate`: random ids of shape [batch, tokens] and their mask."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, model.config.vocab_size, (batch, tokens), generator=generator).to(model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
