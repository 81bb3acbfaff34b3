"""Energy of a run from the steps of a counter, which every 100 ms shows what was drawn so far."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profkit.capture.energy import Edge, EnergyWatch, RunEnergy, idle_power_w, run_energy
from profkit.capture.nvml import ReadingError

MS, SECOND = 1_000_000, 1_000_000_000


def counter(power_w, length_ns, error_ns=2 * MS, period_ns=100 * MS, late_ns=0):
    """Steps of a counter under a power of so many W; each is seen up to `error_ns` beside its time."""
    steps = range(0, length_ns + 1, period_ns)
    return [Edge(at + late_ns, error_ns, power_w * at / 1e9) for at in steps]


def runs_of(length_ns, count, since=0):
    return [(since + at * length_ns, since + (at + 1) * length_ns) for at in range(count)]


@given(st.floats(50, 1000), st.integers(5 * MS, 3 * SECOND), st.integers(3, 300), st.integers(-2 * MS, 2 * MS))
def test_even_power_times_the_runs_time_within_the_error(power, length, count, late):
    runs = runs_of(length, count, since=30 * MS)
    found = run_energy(counter(power, runs[-1][1] + 150 * MS, late_ns=late), runs)
    if length * count < 2 * SECOND:
        assert found.startswith("too short")
        return
    assert abs(found.joules - power * length / 1e9) <= found.error_j * (1 + 1e-6)
    assert found.runs >= count - 1
    assert found.error_j * found.runs <= power * 0.0041  # two ends of 2 ms and what late steps add


def test_only_whole_runs_between_two_steps_count():
    found = run_energy(counter(500, 3 * SECOND), runs_of(300 * MS, 11))  # the last ends at 3.3 s
    assert found.runs == 10
    assert found.window_ns == 3 * SECOND
    assert found.joules == pytest.approx(150)


def test_power_that_rises_makes_the_error_larger():
    even = counter(500, 3 * SECOND)
    rising = [Edge(edge.time_ns, edge.error_ns, edge.joules + (edge.time_ns / 1e9) ** 2 * 100) for edge in even]
    runs = runs_of(290 * MS, 10)
    assert run_energy(rising, runs).error_j > 2 * run_energy(even, runs).error_j


@pytest.mark.parametrize(
    ("edges", "runs", "reason"),
    [
        ([], runs_of(SECOND, 3), "did not step twice"),
        (counter(500, SECOND), runs_of(SECOND, 1, since=5), "no whole run lies between"),
        (counter(500, SECOND), runs_of(100 * MS, 10), "too short: 1.0 s of runs, and an energy needs 2 s"),
        ([Edge(at, 1, 7.0) for at in range(0, 4 * SECOND, SECOND)], runs_of(SECOND, 3), "stood still for 3.0 s"),
    ],
)
def test_without_enough_there_is_a_reason_and_no_number(edges, runs, reason):
    assert reason in run_energy(edges, runs)


class Stepping:
    """A counter of 400 W that steps every 20 ms."""

    device = 0

    def energy_j(self):
        time.sleep(0.001)
        return 400 * (time.perf_counter_ns() // (20 * MS)) * 0.02


class Refusing:
    """A GPU whose counter cannot be read."""

    device = 1

    def energy_j(self):
        raise ReadingError("not supported by this GPU")


def test_a_thread_sees_the_steps_and_ends():
    watch = EnergyWatch([Stepping()])
    watch.start()
    time.sleep(0.4)
    watch.wait_for_step()
    watch.stop()
    assert watch.power_w() == pytest.approx(400, rel=0.2)
    assert not [thread for thread in threading.enumerate() if thread.name == "profkit-energy"]


def test_energy_of_real_runs():
    watch = EnergyWatch([Stepping(), Stepping()])
    watch.start()
    time.sleep(0.05)
    runs = []
    for _ in range(3):
        began = time.perf_counter_ns()
        time.sleep(0.75)
        runs.append((began, time.perf_counter_ns()))
    watch.wait_for_step()
    watch.stop()
    found = watch.of_runs(runs)
    assert isinstance(found, RunEnergy)
    period = (runs[-1][1] - runs[0][0]) / found.runs
    assert found.joules == pytest.approx(2 * 400 * period / 1e9, rel=0.03)  # of both GPUs


def test_one_gpu_that_cannot_be_read_leaves_no_sum():
    watch = EnergyWatch([Stepping(), Refusing()])
    watch.start()
    time.sleep(0.1)
    watch.stop()
    assert watch.of_runs(runs_of(SECOND, 3)) == "not supported by this GPU"
    assert watch.power_w() == "not supported by this GPU"


def test_without_a_gpu_there_is_a_reason():
    assert idle_power_w([], seconds=0) == "no GPU's counter could be read"
    assert EnergyWatch([]).of_runs(runs_of(SECOND, 3)) == "no GPU's counter could be read"
