"""The table of a sweep: medians, rates, energy, cost and marks of a sweep whose numbers are known."""

import dataclasses

import msgspec
import pandas as pd
import pytest
from unit.sweeps import MS, RUNS, STEPS, cpu_sweep, decode_ns, gpu_sweep, prefill_ns, run_ns

from profkit.analysis.curves import curves, table
from profkit.analysis.sweep import TABLE, SweepData


@pytest.fixture(scope="module")
def data():
    return gpu_sweep()


@pytest.fixture(scope="module")
def rows(data):
    return curves(data).set_index(["batch", "context", "phase"])


def changed(data, **columns):
    """The sweep with these columns of every measured point."""
    points = [row | columns if row["status"] == "ok" else row for row in data.points.to_pylist()]
    return SweepData.of(data.meta, points, data.samples.to_pylist())


def test_columns_are_the_axes_and_those_of_the_design(data):
    assert list(table(data)) == ["batch", "context", *TABLE]


def test_medians_of_each_phase(rows):
    assert rows.loc[(8, 512, "decode"), "median_ns"] == decode_ns(8, 512)
    assert rows.loc[(8, 512, "prefill"), "median_ns"] == prefill_ns(8, 512)
    assert rows.loc[(8, 512, "total"), "median_ns"] == pytest.approx(run_ns(8, 512), rel=0.02)


def test_percentiles_only_where_the_sample_carries_them(rows):
    assert rows.loc[(8, 512, "decode"), "samples"] == RUNS * STEPS
    assert rows.loc[(8, 512, "decode"), "p90_ns"] == pytest.approx(1.02 * decode_ns(8, 512), rel=1e-6)
    assert rows.loc[(8, 512, "decode"), "p10_ns"] == decode_ns(8, 512)
    assert rows.loc[(8, 512, "prefill"), "samples"] == RUNS
    assert pd.isna(rows.loc[(8, 512, "prefill"), "p90_ns"])
    assert pd.isna(rows.loc[(8, 512, "prefill"), "p10_ns"])


def test_rates_are_prompt_tokens_in_prefill_and_new_tokens_elsewhere(rows):
    decode = rows.loc[(8, 512, "decode")]
    assert decode["tokens_per_s"] == pytest.approx(8 / (decode_ns(8, 512) / 1e9), rel=0.01)
    assert rows.loc[(8, 512, "prefill"), "tokens_per_s"] == pytest.approx(
        8 * 512 / (prefill_ns(8, 512) / 1e9), rel=0.01
    )
    assert rows.loc[(8, 512, "total"), "tokens_per_s"] == pytest.approx(8 * 32 / (run_ns(8, 512) / 1e9), rel=0.02)


def test_energy_belongs_to_the_whole_run(rows):
    total = rows.loc[(8, 512, "total")]
    joules = 600 * run_ns(8, 512) / 1e9
    assert total["energy_j"] == pytest.approx(joules)
    assert total["joules_per_token"] == pytest.approx(joules / (8 * 32))
    assert total["joules_per_request"] == pytest.approx(joules / 8)
    assert total["carbon_g_per_mtok"] == pytest.approx(joules / (8 * 32) * 1e6 / 3.6e6 * 400)
    assert pd.isna(rows.loc[(8, 512, "decode"), "energy_j"])


def test_cost_is_price_over_throughput(rows):
    decode = rows.loc[(64, 512, "decode")]
    assert decode["cost_per_mtok"] == pytest.approx(3.6 / 3600 / decode["tokens_per_s"] * 1e6)


def test_cost_counts_every_gpu(data):
    two = dataclasses.replace(data, meta=msgspec.structs.replace(data.meta, gpus=2))
    assert curves(two)["cost_per_mtok"].dropna().to_numpy() == pytest.approx(
        2 * curves(data)["cost_per_mtok"].dropna().to_numpy()
    )


def test_a_point_out_of_memory_is_one_row_without_numbers(data):
    row = table(data).set_index(["batch", "context"]).loc[(512, 4096)]
    assert isinstance(row, pd.Series)
    assert row["phase"] == "total"
    assert pd.isna(row["median_ns"])
    assert row["marks"] == "out of memory: at 140 GB, by plan 143 GB. CUDA out of memory. Tried to allocate 16.00 GiB"


def test_marks(data, rows):
    assert rows.loc[(64, 4096, "decode"), "marks"].startswith("throttled: SW power cap: 40%")
    assert "3 runs: too few for an interval" in rows.loc[(1, 512, "decode"), "marks"]
    drifting = curves(changed(data, drift=True, warm_up_stable=False, warm_up_passes=10))
    assert "drift: times rose or fell all along" in drifting["marks"].iloc[0]
    assert "warm-up not settled after 10 passes" in drifting["marks"].iloc[0]


def test_a_wide_interval_is_marked():
    data = gpu_sweep(options={"precision": 0.0001})
    more = [
        sample | {"repetition": run, "duration_ns": sample["duration_ns"] + run * MS}
        for sample in data.samples.to_pylist()
        for run in range(6)
    ]
    found = curves(dataclasses.replace(data, samples=SweepData.of(data.meta, [], more).samples))
    assert found["marks"].iloc[0].startswith("median known to ± ")
    assert found["low_ns"].iloc[0] < found["median_ns"].iloc[0] < found["high_ns"].iloc[0]


def test_without_tokens_times_remain(data):
    points = [row | {"tokens_out": None, "requests": None} for row in data.points.to_pylist()]
    samples = [row | {"tokens_out": None} for row in data.samples.to_pylist() if row["phase"] == "total"]
    found = curves(SweepData.of(data.meta, points, samples)).set_index(["batch", "context"]).loc[(8, 512)]
    assert found["median_ns"] > 0
    assert found[["tokens_per_s", "joules_per_token", "cost_per_mtok"]].isna().all()
    assert found["energy_j"] > 0


def test_without_a_gpu_there_are_curves_and_neither_energy_nor_cost():
    found = curves(cpu_sweep(price_per_gpu_hour=3.0))
    assert found["median_ns"].notna().all()
    assert found[["energy_j", "joules_per_token", "cost_per_mtok", "floor_ns"]].isna().all().all()
