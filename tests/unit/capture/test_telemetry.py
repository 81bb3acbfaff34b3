"""Telemetry from a scripted GPU: what is kept, when, and what is said of the rest."""

import threading

import pyarrow.compute as pc
import pytest

from profkit.capture.clock import Clock
from profkit.capture.nvml import Activity, ReadingError
from profkit.capture.telemetry import POLLED, Sampler, Telemetry
from profkit.errors import OptionError
from profkit.record import TELEMETRY, Metric

MS = 1_000_000
UNIX_NS = 1_700_000_000_000_000_000  # Unix time at the record's start
REFUSED = ReadingError("not supported by this GPU")


class Time:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.ns = 0
        self.clock = Clock(lambda: self.ns, lambda: UNIX_NS + self.ns)


class ScriptedGpu:
    """Test data behind the `Reader` protocol: 400 W, every polled metric 7, a power sample each 20 ms.

    `fails` names the readings that raise, as {reading or metric: error}.
    """

    def __init__(self, time, device=0, fails=None):
        self.time, self.device, self.fails = time, device, fails or {}
        self.windows = []  # times of the calls of activity
        self.polls = []  # times of the readings of the first polled metric
        self.closed = False

    def _fail(self, what):
        if what in self.fails:
            raise self.fails[what]

    def read(self, metric):
        if metric is POLLED[0]:
            self.polls.append(self.time.ns)
        self._fail(metric)
        return 400.0 if metric is Metric.POWER else 7.0

    def power_samples(self, after_us):
        self._fail("power_samples")
        now_us = (UNIX_NS + self.time.ns) // 1000
        oldest = UNIX_NS // 1000 - 1_000_000  # the buffer reaches back before the record
        return [(stamp, 400.0) for stamp in range(oldest, now_us + 1, 20_000) if stamp > after_us]

    def energy_j(self):
        self._fail("energy_j")
        return 5000.0 + 400.0 * (self.time.ns // (100 * MS)) / 10  # steps every 100 ms

    def activity(self):
        self._fail("activity")
        self.windows.append(self.time.ns)
        if len(self.windows) == 1:
            return None
        return Activity({Metric.TENSOR_ACTIVE: 90.0}, {Metric.NVLINK_TX: str(REFUSED)})

    def close(self):
        self.closed = True


def profile(time, gpus, ms, hz=20.0):
    """What a sampler reads over `ms` when it is called each time something is due."""
    sampler = Sampler(time.clock, gpus, hz)
    end = time.ns + ms * MS
    sampler.start()
    while (due := sampler.poll()) < end:
        time.ns = due
    time.ns = end
    sampler.end()
    sampler.finish()
    return sampler.readings()


def rows(readings, metric, device=0):
    table = readings.table
    mask = pc.and_(pc.equal(table["metric"], metric.value), pc.equal(table["device"], device))
    found = table.filter(mask)
    return found["time"].to_pylist(), found["value"].to_pylist()


def test_readings_fit_the_record_and_are_in_order():
    time = Time()
    readings = profile(time, [ScriptedGpu(time)], 2500)
    assert readings.table.schema.equals(TELEMETRY)
    times = readings.table["time"].to_pylist()
    assert times == sorted(times)
    assert not readings.warnings


def test_polled_metrics_are_read_at_the_rate_that_was_asked_for():
    time = Time()
    gpu = ScriptedGpu(time)
    profile(time, [gpu], 1000, hz=100.0)
    assert gpu.polls == [*range(0, 1000 * MS, 10 * MS), 1000 * MS]


def test_a_late_poll_skips_what_it_missed():
    time = Time()
    sampler = Sampler(time.clock, [gpu := ScriptedGpu(time)], 20.0)
    sampler.start()
    sampler.poll()
    time.ns = 505 * MS  # the block held the interpreter
    sampler.poll()
    time.ns = 545 * MS
    sampler.poll()
    time.ns = 550 * MS
    sampler.poll()
    assert gpu.polls == [0, 505 * MS, 550 * MS]


def test_power_comes_from_the_driver_once_each_and_only_from_the_start_on():
    time = Time()
    time.ns = 30 * MS  # telemetry starts after the record does
    times, watts = rows(profile(time, [ScriptedGpu(time)], 3000), Metric.POWER)
    assert times == [*range(40 * MS, 3030 * MS + 1, 20 * MS)]
    assert set(watts) == {400.0}


def test_activity_is_read_over_windows_of_100_ms_and_stamped_at_their_end():
    time = Time()
    gpu = ScriptedGpu(time)
    times, values = rows(profile(time, [gpu], 1000, hz=500.0), Metric.TENSOR_ACTIVE)
    assert times == gpu.windows[1:]
    assert min(b - a for a, b in zip(gpu.windows, gpu.windows[1:], strict=False)) >= 100 * MS
    assert len(times) >= 9
    assert set(values) == {90.0}


def test_energy_is_the_difference_of_the_counter_give_or_take_two_of_its_steps():
    time = Time()
    readings = profile(time, [ScriptedGpu(time)], 2000)
    assert readings.energy_j == {0: pytest.approx(800.0)}
    assert readings.energy_error_j == {0: pytest.approx(400.0 * 0.1 * 2)}


def test_a_window_under_two_counter_steps_has_no_energy():
    time = Time()
    readings = profile(time, [ScriptedGpu(time)], 190)
    assert readings.energy_j == {}
    assert readings.not_measured["energy"].startswith("too short: 190 ms")


def test_a_counter_that_stands_still_is_not_zero_joules():
    time = Time()
    gpu = ScriptedGpu(time)
    gpu.energy_j = lambda: 5000.0
    readings = profile(time, [gpu], 1000)
    assert readings.energy_j == {}
    assert "stood still" in readings.not_measured["energy"]


def test_a_refused_metric_is_absent_with_its_reason_and_the_others_are_read():
    time = Time()
    fails = {Metric.TEMPERATURE: REFUSED, "energy_j": REFUSED}
    readings = profile(time, [ScriptedGpu(time, fails=fails)], 1000)
    assert readings.not_measured["temperature"] == "not supported by this GPU (device 0)"
    assert readings.not_measured["energy"] == "not supported by this GPU (device 0)"
    assert rows(readings, Metric.TEMPERATURE) == ([], [])
    assert rows(readings, Metric.SM_CLOCK)[1]


def test_one_counter_that_the_gpu_lacks_leaves_the_other_counters():
    time = Time()
    readings = profile(time, [ScriptedGpu(time)], 1000)
    assert readings.not_measured == {"NVLink sent": "not supported by this GPU (device 0)"}
    assert rows(readings, Metric.TENSOR_ACTIVE)[1]


def test_a_gpu_without_hardware_counters_says_so_once():
    time = Time()
    readings = profile(time, [ScriptedGpu(time, fails={"activity": REFUSED})], 1000)
    assert readings.not_measured == {"activity counters": "not supported by this GPU (device 0)"}


def test_devices_with_the_same_reason_share_a_sentence():
    time = Time()
    gpus = [ScriptedGpu(time, device, {Metric.SM_CLOCK: REFUSED}) for device in (0, 1)]
    readings = profile(time, gpus, 1000)
    assert readings.not_measured["SM clock"] == "not supported by this GPU (devices 0, 1)"
    assert rows(readings, Metric.POWER, device=1)[1]
    assert set(readings.energy_j) == {0, 1}


def test_power_is_polled_where_the_driver_keeps_no_samples_and_that_is_said():
    time = Time()
    readings = profile(time, [ScriptedGpu(time, fails={"power_samples": REFUSED})], 1000)
    times, watts = rows(readings, Metric.POWER)
    assert len(times) == 21
    assert set(watts) == {400.0}
    assert "power" not in readings.not_measured
    assert any("Power of device 0 is polled" in warning for warning in readings.warnings)


def test_power_is_polled_where_the_drivers_buffer_stays_empty():
    time = Time()
    gpu = ScriptedGpu(time)
    gpu.power_samples = lambda after_us: []
    times, _ = rows(profile(time, [gpu], 3000), Metric.POWER)
    assert len(times) > 30
    assert min(times) >= 1000 * MS


def test_a_gpu_that_refuses_power_altogether_has_none():
    time = Time()
    fails = {"power_samples": REFUSED, Metric.POWER: REFUSED}
    readings = profile(time, [ScriptedGpu(time, fails=fails)], 1000)
    assert rows(readings, Metric.POWER) == ([], [])
    assert readings.not_measured["power"] == "not supported by this GPU (device 0)"


def test_power_samples_that_were_fetched_too_late_are_missed_aloud():
    time = Time()
    gpu = ScriptedGpu(time)
    kept = gpu.power_samples
    gpu.power_samples = lambda after_us: [
        sample for sample in kept(after_us) if sample[0] > (UNIX_NS + time.ns) // 1000 - 2_400_000
    ]
    sampler = Sampler(time.clock, [gpu], 20.0)
    sampler.start()
    sampler.poll()
    time.ns = 10_000 * MS  # the driver keeps 2.4 s
    sampler.finish()
    assert any("Power samples of 7.6 s are missing" in warning for warning in sampler.readings().warnings)


def test_a_passing_failure_is_a_warning_beside_the_values():
    time = Time()
    gpu = ScriptedGpu(time)
    sampler = Sampler(time.clock, [gpu], 20.0)
    sampler.start()
    sampler.poll()
    gpu.fails = {Metric.TEMPERATURE: ReadingError("the GPU is lost: it has to be reset")}
    time.ns = 500 * MS
    sampler.finish()
    readings = sampler.readings()
    assert "temperature" not in readings.not_measured
    assert any("temperature of device 0: 1 of 2" in warning for warning in readings.warnings)


def test_a_very_short_block_still_has_a_state_at_both_ends():
    time = Time()
    readings = profile(time, [ScriptedGpu(time)], 1)
    assert rows(readings, Metric.MEMORY_USED)[0] == [0, 1 * MS]
    assert set(readings.not_measured) == {"energy", "activity counters"}
    assert readings.not_measured["activity counters"].startswith("too short")


@pytest.mark.parametrize("hz", [0, -1, 501, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(hz):
    with pytest.raises(OptionError, match="above 0 and at most 500"):
        Telemetry(Clock(), hz=hz)


def telemetry_threads():
    return [thread for thread in threading.enumerate() if thread.name == "profkit-telemetry"]


def test_one_thread_while_it_runs_and_none_after():
    time = Time()
    gpu = ScriptedGpu(time)
    telemetry = Telemetry(time.clock, readers=[gpu])
    telemetry.start()
    assert len(telemetry_threads()) == 1
    time.ns = 300 * MS
    readings = telemetry.stop()
    assert not telemetry_threads()
    assert gpu.closed
    assert readings.energy_j == {0: pytest.approx(120.0)}
    assert rows(readings, Metric.MEMORY_USED)[1]


@pytest.mark.parametrize("reading", ["energy_j", "power_samples", "activity", Metric.SM_CLOCK])
def test_an_error_that_nobody_foresaw_ends_telemetry_and_is_reported(reading):
    time = Time()
    gpu = ScriptedGpu(time, fails={reading: RuntimeError("surprise")})
    telemetry = Telemetry(time.clock, readers=[gpu])
    telemetry.start()
    time.ns = 300 * MS
    readings = telemetry.stop()
    assert not telemetry_threads()
    assert gpu.closed
    assert any("RuntimeError: surprise" in warning for warning in readings.warnings)


def test_nothing_to_read_starts_no_thread():
    telemetry = Telemetry(Clock(), readers=[])
    telemetry.start()
    assert not telemetry_threads()
    readings = telemetry.stop()
    assert readings.table.schema.equals(TELEMETRY)
    assert (readings.table.num_rows, readings.energy_j, readings.warnings) == (0, {}, [])


def test_a_machine_without_a_gpu_says_what_is_missing():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    telemetry = Telemetry(Clock())
    telemetry.start()
    readings = telemetry.stop()
    assert readings.table.num_rows == 0
    assert readings.not_measured.keys() == {"telemetry"}
    assert readings.not_measured["telemetry"]
