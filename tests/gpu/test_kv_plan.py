"""A plan's largest batch against what this GPU allocates: weights, cache and logits for real."""

from __future__ import annotations

import pytest
import torch

import profkit
from profkit.models.allocate import CASES, LLAMA_8B, allocate, names_of_this_gpu


@pytest.mark.parametrize(("name", "config", "context"), CASES, ids=[f"{n}-{c}" for n, _, c in CASES])
def test_the_planned_batch_fits_and_is_close_to_the_largest(name, config, context):
    for gpu in names_of_this_gpu():
        plan = profkit.kv_plan(config, gpu=gpu, context=context)
        found = allocate(plan)
        assert found.weights_bytes == plan.weights_bytes
        assert found.cache_bytes == pytest.approx(found.real * plan.sequence_bytes, rel=2 / 1024)  # w, not w − 1
        assert found.planned <= found.real
        # One sequence of 32k tokens is 3.2 % of what fits: a whole one may be missing.
        assert found.real - found.planned <= max(0.03 * found.real, 1)


def test_a_plan_for_here_knows_what_others_hold():
    torch.cuda.empty_cache()
    held = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    before = profkit.kv_plan(LLAMA_8B, gpu="here").gpu.memory_bytes
    free, total = torch.cuda.mem_get_info()
    assert before == free + torch.cuda.memory_reserved() <= total
    del held
