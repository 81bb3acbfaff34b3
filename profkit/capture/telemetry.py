"""What did the GPUs do while the block ran: power, clocks, activity, memory in use, energy?

One thread reads them, off the block's path: what NVML answers at once at `hz`, the hardware counters over
windows of 100 ms, and the driver's own power samples, which lie 20 ms apart, about every second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from profkit.capture.clock import Clock
from profkit.capture.nvml import Activity, ReadingError, find_gpus
from profkit.errors import OptionError
from profkit.record import TELEMETRY, Metric

MAX_HZ: Final = 500.0
"""Up to here a thread that reads costs a launch-bound loop nothing that one can measure."""

POLLED: Final = (
    Metric.GPU_UTILIZATION,
    Metric.SM_CLOCK,
    Metric.MEMORY_CLOCK,
    Metric.TEMPERATURE,
    Metric.MEMORY_USED,
    Metric.CLOCK_EVENT_REASONS,
)
"""Read at `hz`. Under load utilisation changes every 200 ms, the others faster."""

_COUNTER_STEP_NS: Final = 100_000_000
_WINDOW_NS: Final = 100_000_000  # of the hardware counters: samples closer than 50 ms gave zeros
_DRAIN_NS: Final = 1_000_000_000  # the driver keeps 2.4 s of power samples
_LOST_NS: Final = 500_000_000  # a gap that no change of the sampling rate explains

_ENERGY: Final = "energy"
_ACTIVITY: Final = "activity counters"
_TOO_SHORT: Final[dict[str, str]] = {
    Metric.POWER.label: "too short: the driver samples power every 20 ms",
    _ACTIVITY: "too short: the hardware counters need windows of 100 ms",
}


class Reader(Protocol):
    """What telemetry asks of one GPU (`nvml.Gpu`). Each reading raises `ReadingError` by itself."""

    @property
    def device(self) -> int:
        """The GPU's index as torch counts."""

    def read(self, metric: Metric) -> float:
        """A metric of `POLLED`, or power."""

    def power_samples(self, after_us: int) -> Sequence[tuple[int, float]]:
        """The driver's power samples younger than `after_us`: Unix time in µs, W."""

    def energy_j(self) -> float:
        """The energy counter."""

    def activity(self) -> Activity | None:
        """The hardware counters since the call before; None at the first."""

    def close(self) -> None:
        """Free what the reader holds."""


@dataclass(frozen=True)
class Readings:
    """What telemetry brought: a table of the record, and energy by device.

    `energy_j` is the difference of the hardware's counter between start and stop. The counter steps every
    100 ms (measured on an H200, driver 580): at either end up to a step is counted to the wrong side, hence
    `energy_error_j` = mean power × 100 ms × 2. Under two steps that is all of it, and there is no number.
    The error of the sensors themselves comes on top (arXiv 2312.02741).
    """

    table: pa.Table
    energy_j: dict[int, float] = field(default_factory=dict)
    energy_error_j: dict[int, float] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)  # what: why
    warnings: list[str] = field(default_factory=list)


class Telemetry:
    """Reads the GPUs between `start` and `stop`, once.

    Making one finds the GPUs, which in a new process takes as long as CUDA needs to start; `start` and `stop`
    then take a few ms. The clock must not be restarted in between.

    Args:
        clock: the record's.
        devices: GPUs as torch counts; all that it sees where None.
        hz: how often to read what NVML answers at once, above 0 and at most 500.
        readers: what to read instead of this machine's GPUs.

    Raises:
        OptionError: `hz` or `devices` cannot be.
    """

    def __init__(
        self,
        clock: Clock,
        devices: Sequence[int] | None = None,
        hz: float = 20.0,
        *,
        readers: Sequence[Reader] | None = None,
    ) -> None:
        if not 0 < hz <= MAX_HZ:
            raise OptionError(f"telemetry_hz must be above 0 and at most {MAX_HZ:g}, not {hz:g}")
        self._not_found: Mapping[str, str] = {}
        if readers is None:
            found = find_gpus(devices)
            readers, self._not_found = found.gpus, found.not_measured
        self._clock = clock
        self._readers = readers
        self._sampler = Sampler(clock, readers, hz)
        self._crashes: list[str] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read the energy counters, then begin: one thread, none where there is nothing to read."""
        with self._reported():
            self._sampler.start()
            if self._readers:
                self._thread = threading.Thread(target=self._run, name="profkit-telemetry", daemon=True)
                self._thread.start()

    def stop(self) -> Readings:
        """Read the energy counters, end the thread, fetch what the driver still holds."""
        with self._reported():
            self._sampler.end()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            with self._reported():
                self._sampler.finish()
        for reader in self._readers:
            with self._reported():
                reader.close()
        readings = self._sampler.readings()
        return dataclasses.replace(
            readings,
            not_measured={**self._not_found, **readings.not_measured},
            warnings=readings.warnings + self._crashes,
        )

    def _run(self) -> None:
        with self._reported():
            while not self._stopping.is_set():
                due = self._sampler.poll()
                self._stopping.wait(max(0, due - self._clock.now()) / 1e9)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Ends what it holds at an error of ours, and says so in the record: telemetry never stops a cell."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it goes to the user as a warning of the record
            crash = f"Telemetry is incomplete: {type(error).__name__}: {error}"
            if crash not in self._crashes:
                self._crashes.append(crash)


class Sampler:
    """The readings of one profile as they fall due. Knows no thread and never sleeps."""

    def __init__(self, clock: Clock, readers: Sequence[Reader], hz: float) -> None:
        self._clock = clock
        self._readers = readers
        self._period_ns = round(1e9 / hz)
        self._rows = _Rows()
        self._taken: Counter[tuple[str, int]] = Counter()  # (what, device): readings
        self._failed: dict[tuple[str, int], _Failure] = {}
        self._warnings: list[str] = []
        self._counters: dict[int, tuple[int, float]] = {}  # device: time, J at the start
        self._energy_j: dict[int, float] = {}
        self._energy_error_j: dict[int, float] = {}
        self._polls_power: set[int] = set()
        self._power_seen: dict[int, int] = {}  # device: newest sample, Unix µs
        self._power_lost_ns: Counter[int] = Counter()
        self._begin = self._poll_due = self._activity_due = self._drain_due = 0

    def start(self) -> None:
        """Read the energy counters; power samples count from here on."""
        self._counters = self._read_counters()
        self._begin = self._poll_due = self._activity_due = self._drain_due = self._clock.now()
        before = (self._clock.start_unix_ns + self._begin) // 1000 - 1
        self._power_seen = {reader.device: before for reader in self._readers}

    def poll(self) -> int:
        """Read what is due. Returns when the next is, in record time."""
        now = self._clock.now()
        if now >= self._drain_due:
            self._drain()
            self._drain_due = now + _DRAIN_NS
        if now >= self._poll_due:
            self._read_polled()
            missed = (now - self._poll_due) // self._period_ns
            self._poll_due += (missed + 1) * self._period_ns
        if now >= self._activity_due:
            self._read_activity()
            self._activity_due = self._clock.now() + _WINDOW_NS
        return min(self._drain_due, self._poll_due, self._activity_due)

    def end(self) -> None:
        """Read the energy counters again."""
        for device, (time, joules) in self._read_counters().items():
            if device not in self._counters:
                continue
            started, before = self._counters[device]
            window_ns, used = time - started, joules - before
            if window_ns < 2 * _COUNTER_STEP_NS:
                self._fail(
                    _ENERGY,
                    device,
                    f"too short: {window_ns / 1e6:.0f} ms, and the counter steps every 100 ms",
                )
            elif used <= 0:
                self._fail(_ENERGY, device, f"the counter stood still for {window_ns / 1e6:.0f} ms")
            else:
                self._taken[_ENERGY, device] += 1
                self._energy_j[device] = used
                self._energy_error_j[device] = used / window_ns * 2 * _COUNTER_STEP_NS

    def finish(self) -> None:
        """Fetch what the driver still holds, and read the state at the end."""
        self._drain()
        self._read_polled()
        if self._clock.now() >= self._activity_due:
            self._read_activity()

    def readings(self) -> Readings:
        """All that was read, with a reason for all that was not."""
        not_measured, warnings = self._account()
        return Readings(
            self._rows.table(), self._energy_j, self._energy_error_j, not_measured, self._warnings + warnings
        )

    def _read_counters(self) -> dict[int, tuple[int, float]]:
        counters = {}
        for reader in self._readers:
            now = self._clock.now()
            try:
                counters[reader.device] = (now, reader.energy_j())
            except ReadingError as error:
                self._fail(_ENERGY, reader.device, str(error))
        return counters

    def _read_polled(self) -> None:
        for reader in self._readers:
            now = self._clock.now()
            power = (Metric.POWER,) if reader.device in self._polls_power else ()
            for metric in POLLED + power:
                try:
                    self._add(now, reader.device, metric, reader.read(metric))
                except ReadingError as error:
                    self._fail(metric.label, reader.device, str(error))

    def _read_activity(self) -> None:
        for reader in self._readers:
            now, device = self._clock.now(), reader.device
            try:
                activity = reader.activity()
            except ReadingError as error:
                self._fail(_ACTIVITY, device, str(error))
                continue
            if activity is None:
                continue
            self._taken[_ACTIVITY, device] += 1
            for metric, value in activity.values.items():
                self._add(now, device, metric, value)
            for metric, reason in activity.failed.items():
                self._fail(metric.label, device, reason)

    def _drain(self) -> None:
        """Fetch the driver's power samples; a GPU whose driver keeps none is polled from then on."""
        for reader in self._readers:
            device = reader.device
            if device in self._polls_power:
                continue
            try:
                samples = reader.power_samples(self._power_seen[device])
            except ReadingError as error:
                self._poll_power(device, str(error))
                continue
            for stamp_us, watts in samples:
                time = self._clock.from_unix_ns(stamp_us * 1000)
                if stamp_us <= self._power_seen[device] or time < self._begin:
                    continue
                gap_ns = (stamp_us - self._power_seen[device]) * 1000
                if gap_ns > _LOST_NS:
                    self._power_lost_ns[device] += gap_ns
                self._power_seen[device] = stamp_us
                self._add(time, device, Metric.POWER, watts)
            if not self._taken[Metric.POWER.label, device] and self._clock.now() - self._begin >= _DRAIN_NS:
                self._poll_power(device, "there are none")

    def _poll_power(self, device: int, reason: str) -> None:
        self._polls_power.add(device)
        self._warnings.append(
            f"Power of device {device} is polled, each reading a mean over up to 1 s: "
            f"the driver's own samples cannot be had ({reason})."
        )

    def _add(self, time: int, device: int, metric: Metric, value: float) -> None:
        self._taken[metric.label, device] += 1
        self._rows.add(time, device, metric, value)

    def _fail(self, what: str, device: int, reason: str) -> None:
        self._failed.setdefault((what, device), _Failure(reason)).count += 1

    def _account(self) -> tuple[dict[str, str], list[str]]:
        """What was never read, by reason, and a warning for what failed now and then."""
        expected = [_ENERGY, Metric.POWER.label, *(metric.label for metric in POLLED), _ACTIVITY]
        pairs = [(what, reader.device) for what in expected for reader in self._readers]
        missing: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        warnings = []
        for what, device in dict.fromkeys([*pairs, *self._failed]):
            taken, failure = self._taken[what, device], self._failed.get((what, device))
            if not taken:
                reason = failure.reason if failure else _TOO_SHORT.get(what, "not read")
                missing[what][reason].append(device)
            elif failure:
                warnings.append(
                    f"{what} of device {device}: {failure.count} of {taken + failure.count} readings failed: "
                    f"{failure.reason}."
                )
        warnings += [
            f"Power samples of {lost / 1e9:.1f} s are missing on device {device}: they were fetched too late."
            for device, lost in self._power_lost_ns.items()
        ]
        return {what: _sentence(reasons) for what, reasons in missing.items()}, warnings


@dataclass
class _Failure:
    """Why a reading failed first, and how often it did."""

    reason: str
    count: int = 0


def _sentence(reasons: Mapping[str, Sequence[int]]) -> str:
    """``not supported by this GPU (devices 0, 1)``, one clause for each reason."""
    return "; ".join(
        f"{reason} ({'device' if len(devices) == 1 else 'devices'} {', '.join(map(str, devices))})"
        for reason, devices in reasons.items()
    )


class _Rows:
    """The columns of `TELEMETRY` as they grow: 19 bytes a reading, and nothing for the garbage collector."""

    def __init__(self) -> None:
        self._times = array("q")
        self._devices = array("h")
        self._metrics = array("b")
        self._values = array("d")
        self._code = {metric: code for code, metric in enumerate(Metric)}

    def add(self, time: int, device: int, metric: Metric, value: float) -> None:
        self._times.append(time)
        self._devices.append(device)
        self._metrics.append(self._code[metric])
        self._values.append(value)

    def table(self) -> pa.Table:
        """The rows by time: power samples arrive later than they were taken."""
        times = np.asarray(self._times)
        order = np.argsort(times, kind="stable")
        metrics = _column(pa.int8(), np.asarray(self._metrics)[order])
        return pa.table(
            [
                _column(pa.int64(), times[order]),
                _column(pa.int16(), np.asarray(self._devices)[order]),
                pa.DictionaryArray.from_arrays(metrics, _metric_names()),
                _column(pa.float64(), np.asarray(self._values)[order]),
            ],
            schema=TELEMETRY,
        )


# `pa.array` would import pandas: 0.3 s at the end of a process's first profile.
def _column(kind: pa.DataType, values: NDArray[np.generic]) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _metric_names() -> pa.Array:
    ends = np.cumsum([0, *map(len, Metric)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(Metric), pa.py_buffer(ends), pa.py_buffer("".join(Metric).encode()))
