"""The growth of a KV cache, from readings that a reader can add up."""

import pytest
from unit import records
from unit.kv_records import BATCH, FULL, NEW, PROMPT, SLIDING, WEIGHTS, WINDOW, growing_record

from profkit.analysis.kv import NotToldError, full, kv_curve, kv_growth
from profkit.record import KV, Metric, Record


def changed(change, record=None):
    """The record with its cache's rows changed by `change(row)`; None leaves a row out."""
    record = record or growing_record()
    rows = [change(dict(row)) for row in record.kv.to_pylist()]
    record.kv = records.rows(KV, [row for row in rows if row is not None])
    return record


def test_a_token_costs_what_the_cache_grows_by():
    growth = kv_growth(growing_record())
    assert growth.bytes_per_token == growth.formula_bytes_per_token == FULL, "a full window grows no more"
    assert growth.deviation == 0
    by_kind = {kind.layer_kind: kind for kind in growth.kinds}
    assert (by_kind["full"].bytes_per_token, by_kind["full"].window) == (FULL, None)
    assert (by_kind["sliding"].bytes_per_token, by_kind["sliding"].window) == (SLIDING, WINDOW)


def test_a_window_is_seen_where_the_formula_is_not_known():
    record = growing_record(kv_formula={}, not_measured={"kv_formula": "no such model"})
    growth = kv_growth(record)
    assert (growth.formula_bytes_per_token, growth.deviation) == (None, None)
    assert growth.formula_missing == "no such model"
    assert {kind.layer_kind: kind.window for kind in growth.kinds} == {"full": None, "sliding": WINDOW}
    assert growth.bytes_per_token == FULL


def test_more_than_the_formula_is_a_deviation():
    record = changed(lambda row: row | {"logical_bytes": row["logical_bytes"] * 11 // 10})
    assert kv_growth(record).deviation == pytest.approx(0.1)


def test_the_peak_is_the_reading_with_most_memory():
    growth = kv_growth(growing_record())
    assert growth.readings == NEW
    assert growth.peak_bytes == BATCH * PROMPT * (FULL + SLIDING), "the window's view pins the whole prompt"
    assert (growth.peak_tokens, growth.peak_sequences) == (PROMPT, BATCH)
    assert growth.peak_allocated_bytes == WEIGHTS + growth.peak_bytes


def test_waste_at_the_peak():
    waste = kv_growth(growing_record()).waste
    assert waste.padding_bytes == 30 * FULL
    assert waste.unfilled_bytes == 0
    assert waste.pinned_bytes == BATCH * (PROMPT - WINDOW) * SLIDING
    assert waste.fragmentation_bytes == 2_000_000 - WEIGHTS - BATCH * PROMPT * (FULL + SLIDING)
    assert waste.inactive_bytes == 10_000


def test_a_static_cache_has_slots_to_fill():
    record = changed(lambda row: row | {"capacity_bytes": 400_000, "storage_bytes": 400_000})
    waste = kv_growth(record).waste
    logical = BATCH * (PROMPT * FULL + WINDOW * SLIDING)
    assert waste.unfilled_bytes == 800_000 - logical
    assert waste.pinned_bytes == 0


def test_the_gpu_is_full_at_a_context():
    end = kv_growth(growing_record()).full
    assert end == full(growing_record())
    assert (end.memory_bytes, end.batch) == (4_000_000, BATCH)
    assert end.beside_bytes == WEIGHTS + 50_000 - BATCH * (PROMPT - WINDOW) * SLIDING + BATCH * (NEW - 1) * FULL
    used = end.beside_bytes + BATCH * (end.context * FULL + WINDOW * SLIDING)
    assert used <= end.memory_bytes < used + BATCH * FULL


def test_a_window_that_is_not_full_yet_grows_too():
    record = growing_record()
    small = record.meta.environment["gpus"][0] | {"memory_bytes": 1_022_000 + BATCH * 10 * (FULL + SLIDING)}
    record.meta.environment = {"gpus": [small]}
    assert full(record).context == 10


def test_what_others_take_is_taken_off():
    record = growing_record()
    used = {"time": 0, "device": 0, "metric": str(Metric.MEMORY_USED), "value": 2_500_000.0}
    record.telemetry = records.rows(record.telemetry.schema, [used])
    end = full(record)
    assert end.outside_bytes == 500_000
    assert end.context == full(growing_record()).context - 500_000 // BATCH // FULL


def test_a_cache_that_does_not_grow_never_fills_the_gpu():
    record = changed(lambda row: None if row["layer_kind"] == "full" else row)
    assert full(record).context is None
    assert kv_growth(record).bytes_per_token is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (growing_record(environment={"gpus": []}), "the GPU's memory is not in the record"),
        (growing_record(peak_memory_bytes={}), "the peak of the allocator"),
        (changed(lambda row: row | {"device": -1}), "the host's memory"),
        (changed(lambda row: row | {"step": -1}), "a paged cache"),
        (changed(lambda row: row | {"sequences": None}), "how many sequences"),
        (changed(lambda row: row | {"storage_bytes": None}), "how much memory"),
        (changed(lambda row: row | {"logical_bytes": None}), "the size of a kind of layer"),
        (records.cpu_record(), "no KV cache was read"),
    ],
)
def test_what_is_missing_for_it_is_said(record, reason):
    with pytest.raises(NotToldError, match=reason):
        full(record)
    growth = kv_growth(record)
    assert growth is None or reason in growth.full_missing


def test_no_reading_no_growth():
    assert kv_growth(records.empty_record()) is None
    assert kv_curve(records.cpu_record()).empty


def test_tokens_of_a_paged_cache_are_those_of_all_sequences():
    def paged(row):
        if row["layer_kind"] == "sliding":
            return None
        return row | {"step": -1, "tokens": row["tokens"] * BATCH}

    growth = kv_growth(changed(paged))
    assert growth.bytes_per_token == FULL
    assert growth.waste.paged


def test_the_curve_has_a_row_per_reading():
    curve = kv_curve(growing_record())
    assert list(curve["kind_full"]) == [BATCH * (PROMPT + at) * FULL for at in range(NEW)]
    assert set(curve["kind_sliding"]) == {BATCH * WINDOW * SLIDING}
    assert list(curve["logical_bytes"]) == list(curve["kind_full"] + curve["kind_sliding"])
    assert list(curve["phase"]) == ["prefill"] + ["decode"] * (NEW - 1)
    assert set(curve["generation"]) == {0}


def test_an_unknown_part_makes_a_sum_unknown():
    record = changed(lambda row: row | {"logical_bytes": None} if row["layer_kind"] == "full" else row)
    curve = kv_curve(record)
    assert curve["logical_bytes"].isna().all()
    assert curve["storage_bytes"].notna().all()
    growth = kv_growth(record)
    assert growth.kinds[0].bytes_per_token is None
    assert growth.waste.unfilled_bytes is None


def test_a_cache_split_between_gpu_and_host_has_both():
    def split(row):
        return row | {"layer_kind": "full", "device": 0 if row["layer_kind"] == "full" else -1}

    curve = kv_curve(changed(split))
    assert {"kind_full", "kind_full on the host"} <= set(curve.columns)


def test_one_reading_still_tells_what_a_token_takes():
    record = changed(lambda row: row if row["step"] == 0 else None)
    assert kv_growth(record).bytes_per_token == FULL


def test_plain_data_carries_the_deviation():
    plain = kv_growth(growing_record()).to_dict()
    assert plain["deviation"] == 0
    assert [kind["deviation"] for kind in plain["kinds"]] == [0, 0]


def test_an_older_record_has_no_times():
    record = changed(
        lambda row: {k: row[k] for k in ("step", "layer_kind", "logical_bytes", "storage_bytes", "tokens")}
    )
    growth = kv_growth(record)
    assert growth.readings == NEW
    assert growth.peak_at_ns is None
    assert isinstance(Record(record.meta, kv=record.kv), Record)
