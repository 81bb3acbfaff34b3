"""How much of a GPU a process can use: never more than GPUs have been seen to give."""

import pytest
import torch

from profkit.errors import OptionError, ProfkitError
from profkit.hardware.gpus import GPUS
from profkit.hardware.memory import gpu_memory, named

# GiB that torch reports as a GPU's total, from its out-of-memory messages; the smallest that was seen.
SEEN_GIB = {
    "H200 SXM": 139.7,
    "H100 SXM": 79.1,
    "H100 NVL": 93.0,
    "B200": 178.3,
    "A100 80GB SXM": 79.1,
    "A100 40GB SXM": 39.38,
    "L4": 22.03,
    "L40S": 44.39,
    "A10": 21.98,
    "RTX 4090": 23.52,
    "RTX 3090": 23.68,
}


@pytest.mark.parametrize("name", SEEN_GIB)
def test_what_is_left_is_close_to_what_cuda_reports_and_never_more(name):
    memory = gpu_memory(name)
    usable = (memory.memory_bytes - memory.overhead_bytes) / 2**30
    assert 0.95 * SEEN_GIB[name] - 0.75 < usable < SEEN_GIB[name]


def test_every_gpu_of_the_table_has_a_memory():
    for gpu in GPUS:
        memory = gpu_memory(gpu.name)
        assert memory.name == gpu.name
        assert 0 < memory.overhead_bytes < 0.13 * memory.memory_bytes


def test_the_beginning_of_a_name_is_enough_where_it_is_clear():
    assert named("h200").name == "H200 SXM"
    assert named("A100 80GB").memory_gb == 80
    assert named("L4").name == "L4"


def test_a_name_of_gpus_that_differ_is_asked_back():
    with pytest.raises(OptionError, match=r"A100 80GB SXM \(80 GB\) or .*A100 40GB"):
        named("A100")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_here_needs_a_gpu():
    with pytest.raises(ProfkitError, match="gpu='H200'"):
        gpu_memory("here")
