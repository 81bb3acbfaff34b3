"""The ceilings of this GPU: within what its vendor promises, soon found, and kept."""

import time

import pytest
import torch

from profkit.hardware import cache, measure
from profkit.hardware.ceilings import METRICS, datasheet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROFKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache.folder()


@pytest.fixture(scope="module")
def found(folder):
    state = torch.cuda.get_rng_state()
    held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    ceilings = measure()
    assert time.perf_counter() - began < 15  # the promise is 10 s of work; CUDA may have to start first
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert torch.cuda.memory_allocated() - held < 64 << 20  # the libraries' workspaces
    return ceilings


def test_every_metric_has_a_figure_or_a_reason(found):
    for name in METRICS:
        assert getattr(found, name) is not None or name in found.not_measured, name
    assert found.took_s < 10
    assert not found.warnings


def test_figures_were_measured_here_and_say_so(found):
    for name in METRICS:
        ceiling = getattr(found, name)
        if name not in found.not_measured:
            assert ceiling.measured
            assert ceiling.source.startswith(f"measured on {torch.cuda.get_device_name()}")
            assert ceiling.spread < (0.25 if ceiling.unit != "ns" else 1)  # latencies are the host's


def test_nothing_is_faster_than_the_datasheet_and_nothing_absurdly_slower(found):
    sheet = datasheet(torch.cuda.get_device_name())
    if sheet is None:
        pytest.skip(f"{torch.cuda.get_device_name()} is not in the table")
    for name in ("copy", "read", "bf16", "fp16", "fp8"):
        ceiling, promised = getattr(found, name), getattr(sheet, name)
        if ceiling is not None and promised is not None:
            assert 0.5 * promised.value < ceiling.value <= promised.value, name


def test_an_h200_as_measured_by_hand(found):
    if torch.cuda.get_device_name() != "NVIDIA H200":
        pytest.skip(f"this is a {torch.cuda.get_device_name()}")
    assert 3.9e12 < found.copy.value < 4.8e12
    assert 3.9e12 < found.read.value < 4.8e12
    assert 600e12 < found.bf16.value < 989e12
    assert found.bf16.value < found.fp8.value < 1979e12


def test_a_launch_takes_microseconds_and_a_graphs_kernel_less(found):
    assert 500 < found.graph_kernel.value < found.launch.value < 50_000
    assert found.graph_replay.value < 50_000


def test_the_second_call_reads_what_the_first_kept(found, folder):
    assert len(list((folder / "ceilings").iterdir())) == 1
    began = time.perf_counter()
    again = measure(0)
    assert time.perf_counter() - began < 0.5
    assert again == found


def test_a_profile_holds_what_was_measured(found, folder):
    from profkit.capture.environment import environment

    kept = environment()["gpus"][torch.cuda.current_device()]["ceilings"]
    assert kept["copy"]["value"] == found.copy.value
