"""A small model and its prompts, shared by the tests of what is seen of its forward passes."""

import pytest
import torch
import transformers
from unit.watched import PROMPT, SIZE, build


@pytest.fixture(scope="module")
def llama():
    config = transformers.LlamaConfig(**SIZE, num_key_value_heads=2, max_position_embeddings=128)
    return build(transformers.LlamaForCausalLM, config)


@pytest.fixture(scope="module")
def ids():
    return torch.randint(1, 64, (2, PROMPT), generator=torch.Generator().manual_seed(1))
