"""Power, energy and throttling from a record's telemetry."""

import pyarrow as pa
import pytest

from profkit.analysis.telemetry import clock_reasons, energy, mean_power_w, power, series
from profkit.record import TELEMETRY, Meta, Metric, Record


def record(rows=(), wall_ns=100, **meta):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    table = pa.table(dict(zip(TELEMETRY.names, columns, strict=True)))
    return Record(Meta(name="test", wall_ns=wall_ns, **meta), telemetry=table)


def test_a_series_is_one_metric_of_one_gpu_in_order_without_gaps():
    rows = [
        (30, 0, "power_w", 3.0),
        (10, 0, "power_w", 1.0),
        (20, 0, "power_w", None),
        (10, 1, "power_w", 9.0),
        (10, 0, "temperature_c", 8.0),
    ]
    times, values = series(record(rows), Metric.POWER, 0)
    assert times.tolist() == [10, 30]
    assert values.tolist() == [1.0, 3.0]


def test_power_counts_samples_within_the_block_only():
    rows = [
        (time, 0, "power_w", watts)
        for time, watts in [(-1, 900.0), (0, 100.0), (50, 200.0), (100, 600.0), (101, 900.0)]
    ]
    found = power(record(rows), 0)
    assert found is not None
    assert (found.mean_w, found.max_w, found.samples) == (pytest.approx(300.0), 600.0, 3)


def test_fewer_than_three_samples_are_no_power():
    rows = [(10, 0, "power_w", 100.0), (20, 0, "power_w", 100.0), (200, 0, "power_w", 100.0)]
    assert power(record(rows), 0) is None
    assert mean_power_w(record(rows)) is None


def test_mean_power_is_that_of_all_gpus_together():
    rows = [(time, device, "power_w", 100.0 * (1 + device)) for time in (1, 2, 3) for device in (0, 1)]
    assert mean_power_w(record(rows)) == pytest.approx(300.0)


def test_mean_power_is_unknown_where_one_gpu_is():
    rows = [(time, 0, "power_w", 100.0) for time in (1, 2, 3)] + [(1, 1, "power_w", 100.0)]
    assert mean_power_w(record(rows)) is None


def test_energy_adds_the_gpus_and_their_errors():
    found = energy(record(energy_j={1: 30.0, 0: 10.0}, energy_error_j={0: 1.0, 1: 2.0}))
    assert found is not None
    assert (found.total_j, found.error_j, found.devices) == (40.0, 3.0, (0, 1))


def test_energy_that_was_not_measured_is_none():
    assert energy(record()) is None


def test_clock_reasons_name_what_throttled_and_how_often():
    masks = [0x4, 0x4 | 0x20, 0x4, 0x0]
    rows = [(time, 0, "clock_event_reasons", float(mask)) for time, mask in enumerate(masks)]
    assert clock_reasons(record(rows)) == [
        "SW power cap: 75% of 4 readings (device 0)",
        "SW thermal slowdown: 25% of 4 readings (device 0)",
    ]


def test_idle_and_set_clocks_are_no_throttling():
    rows = [(time, 0, "clock_event_reasons", float(0x1 | 0x2 | 0x100)) for time in range(4)]
    assert clock_reasons(record(rows)) == []


def test_a_reason_that_is_newer_than_this_table_is_still_named():
    assert clock_reasons(record([(1, 0, "clock_event_reasons", float(0x800))])) == [
        "reason 0x800: 100% of 1 readings (device 0)"
    ]


def test_a_record_without_telemetry_answers_nothing():
    empty = record()
    assert series(empty, Metric.POWER, 0)[0].tolist() == []
    assert (power(empty, 0), mean_power_w(empty), clock_reasons(empty)) == (None, None, [])
