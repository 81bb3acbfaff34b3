"""Energy of repeated work on a real GPU: against another reader of the same counter, and against power."""

import time

import pytest
import torch

import profkit
from profkit.capture.energy import EnergyWatch, RunEnergy, counters, idle_power_w

SECONDS = 10.0


@pytest.fixture(scope="module")
def work():
    """Matrix products of random data, about 50 ms."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def run():
        for _ in range(30):
            a @ a
        torch.cuda.synchronize()

    run()
    return run


def counted(work, seconds=SECONDS):
    """Energy of one run by our counter, and how many runs it took."""
    found, reason = counters([0])
    if reason is not None:
        pytest.skip(f"energy: {reason}")
    watch = EnergyWatch(found)
    watch.start()
    end = time.perf_counter() + seconds
    runs = []
    while time.perf_counter() < end:
        began = time.perf_counter_ns()
        work()
        runs.append((began, time.perf_counter_ns()))
    watch.wait_for_step()
    watch.stop()
    energy = watch.of_runs(runs)
    assert isinstance(energy, RunEnergy), energy
    return energy, runs


def test_zeus_measures_the_same_within_3_percent(work):
    zeus = pytest.importorskip("zeus.monitor", reason="zeus is not installed: pip install zeus")
    monitor = zeus.ZeusMonitor(gpu_indices=[0])
    monitor.begin_window("profkit")
    energy, runs = counted(work)
    window = monitor.end_window("profkit")
    ours = energy.joules * len(runs)
    assert ours == pytest.approx(window.total_energy, rel=0.03)


def test_energy_of_a_run_is_power_times_its_time(work):
    energy, runs = counted(work)
    mean_s = (runs[-1][1] - runs[0][0]) / len(runs) / 1e9
    assert 0 < energy.joules / mean_s < 2000  # W; no GPU of today draws more
    assert energy.window_ns > (SECONDS - 0.5) * 1e9
    assert energy.error_j < 0.02 * energy.joules


def test_twice_the_work_takes_twice_the_energy(work):
    once, _ = counted(work, 4.0)
    twice, _ = counted(lambda: (work(), work()), 4.0)
    assert twice.joules == pytest.approx(2 * once.joules, rel=0.05)


def test_an_idle_gpu_draws_less_than_a_busy_one(work):
    time.sleep(3)
    idle = idle_power_w(counters([0])[0])
    energy, runs = counted(work, 4.0)
    busy = energy.joules / ((runs[-1][1] - runs[0][0]) / len(runs) / 1e9)
    assert isinstance(idle, float)
    assert 0 < idle < 0.8 * busy


def test_a_sweep_has_energy_where_runs_fill_two_seconds_and_else_a_reason(work):
    made = profkit.sweep(lambda x: work(), x=[1], tokens="1", progress=False)
    total = made.table.iloc[0]
    assert total["energy_j"] == pytest.approx(total["joules_per_token"])
    assert total["energy_j"] > 0
    assert made.points["energy_window_ns"][0] >= 2e9
    assert made.meta.idle_power_w > 0
    short = profkit.sweep(lambda x: work(), x=[1], budget_s=0.5, progress=False)
    assert short.table["energy_j"].isna().all()
    reason = short.points["energy_reason"][0]
    assert any(words in reason for words in ("too short", "step", "the budget of 0.5 s ended before"))
