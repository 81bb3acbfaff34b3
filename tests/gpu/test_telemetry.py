"""Telemetry of a real GPU under a known load."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from profkit.analysis.telemetry import power, series
from profkit.capture.clock import Clock
from profkit.capture.environment import environment
from profkit.capture.nvml import find_gpus
from profkit.capture.telemetry import Telemetry
from profkit.errors import OptionError
from profkit.hardware.gpus import find
from profkit.record import Meta, Metric, Record

SECONDS = 3.0


def multiply(seconds):
    """Keep the tensor cores busy with random data (on zeros a GPU draws less)."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(20):
            a @ a
        torch.cuda.synchronize()


@pytest.fixture(scope="module")
def loaded():
    """Readings and their record over a loop of matrix products that had begun before."""
    multiply(1.0)
    clock = Clock()
    telemetry = Telemetry(clock)
    telemetry.start()
    multiply(SECONDS)
    wall_ns = clock.now()
    readings = telemetry.stop()
    return readings, Record(Meta(name="loaded", wall_ns=wall_ns), telemetry=readings.table)


def supported(readings, *names):
    for name in names:
        if name in readings.not_measured:
            pytest.skip(f"{name}: {readings.not_measured[name]}")


def test_power_samples_are_20_ms_apart(loaded):
    readings, record = loaded
    supported(readings, "power")
    if any("is polled" in warning for warning in readings.warnings):
        pytest.skip(str(readings.warnings))
    times, watts = series(record, Metric.POWER, 0)
    assert 15e6 < np.median(np.diff(times)) < 25e6
    assert times[0] < 0.2e9
    assert times[-1] > (SECONDS - 0.5) * 1e9
    assert (np.diff(times) > 0).all()
    assert (watts > 10).all()


def test_energy_agrees_with_mean_power(loaded):
    readings, record = loaded
    supported(readings, "energy", "power")
    mean = power(record, 0)
    assert mean is not None
    assert readings.energy_j[0] == pytest.approx(mean.mean_w * record.meta.wall_ns / 1e9, rel=0.15)
    assert readings.energy_error_j[0] == pytest.approx(mean.mean_w * 0.2, rel=0.15)


def test_matrix_products_show_in_the_counters(loaded):
    readings, record = loaded
    supported(readings, "activity counters")
    times, tensor = series(record, Metric.TENSOR_ACTIVE, 0)
    assert (np.diff(times) >= 100e6).all()
    assert np.median(tensor) > 20
    assert 0 < np.median(series(record, Metric.SM_ACTIVE, 0)[1]) <= 100
    assert 0 < np.median(series(record, Metric.DRAM_ACTIVE, 0)[1]) <= 100


def test_polled_metrics_are_plausible(loaded):
    readings, record = loaded
    plausible = {
        Metric.GPU_UTILIZATION: (50, 100),
        Metric.SM_CLOCK: (200, 4000),
        Metric.MEMORY_CLOCK: (200, 20000),
        Metric.TEMPERATURE: (10, 110),
        Metric.MEMORY_USED: (128e6, torch.cuda.get_device_properties(0).total_memory),
        Metric.CLOCK_EVENT_REASONS: (0, 2**32),
    }
    for metric, (low, high) in plausible.items():
        if metric.label in readings.not_measured:
            continue
        times, values = series(record, metric, 0)
        assert len(times) > SECONDS * 20 / 2, metric
        assert low <= np.median(values) <= high, metric


def test_nothing_failed_that_was_not_expected(loaded):
    readings, _ = loaded
    assert not [warning for warning in readings.warnings if "is polled" not in warning]
    for what, reason in readings.not_measured.items():
        assert "Error" not in reason, (what, reason)


def test_no_thread_is_left(loaded):
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("profkit")]


def test_a_block_of_no_length_has_a_state_and_no_energy():
    telemetry = Telemetry(Clock())
    telemetry.start()
    readings = telemetry.stop()
    assert readings.energy_j == {}
    assert readings.not_measured["energy"].startswith("too short")
    assert readings.table.num_rows > 0


def test_every_gpu_that_torch_sees_is_found_by_its_own_handle():
    found = find_gpus()
    assert not found.not_measured
    assert [gpu.device for gpu in found.gpus] == list(range(torch.cuda.device_count()))
    # Memory in use follows what this process allocates, on the GPU where it allocates it.
    for gpu in found.gpus:
        before = gpu.read(Metric.MEMORY_USED)
        block = torch.empty(1 << 30, dtype=torch.uint8, device=f"cuda:{gpu.device}")
        assert gpu.read(Metric.MEMORY_USED) - before > 0.9e9
        del block
        torch.cuda.empty_cache()


def test_the_environment_describes_the_gpu():
    gpu = environment()["gpus"][0]
    assert gpu["name"] == torch.cuda.get_device_name(0)
    assert all(value is not None for name, value in gpu.items() if name != "ceilings")  # None until measured
    assert environment()["driver"]
    spec = find(gpu["name"])
    if spec is not None:
        assert gpu["memory_bytes"] == pytest.approx(spec.memory_gb * 1e9, rel=0.1)


def test_a_device_that_torch_does_not_see_is_refused():
    with pytest.raises(OptionError, match="device 99 is not visible"):
        Telemetry(Clock(), devices=[99])


@pytest.mark.parametrize("hidden", [True, False])
def test_visible_devices_are_followed(hidden):
    uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.device_count() - 1).uuid}"
    code = "from profkit.capture.nvml import find_gpus; f = find_gpus(); print(len(f.gpus), f.not_measured)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "" if hidden else uuid},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("0 {'telemetry': 'CUDA_VISIBLE_DEVICES hides all GPUs" if hidden else "1 {}")
