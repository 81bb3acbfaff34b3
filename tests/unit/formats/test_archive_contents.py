"""The `.profkit` file: tables and metadata that would make a wrong number are refused."""

import pyarrow as pa
import pytest
from unit import records
from unit.archives import content, edit_meta, edit_table, rewrite, set_first, with_column

from profkit.errors import RecordError
from profkit.formats import archive
from profkit.record import SCHEMA_VERSION, SCHEMAS, Meta, Record


def test_a_newer_schema_asks_for_a_newer_profkit(path):
    edit_meta(path, schema_version=SCHEMA_VERSION + 1, wall_ns="a new form")
    with pytest.raises(RecordError, match=rf"schema version {SCHEMA_VERSION + 1}.*update profkit"):
        archive.load(path)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"schema_version": 1}', b'{"schema_version": 1, "name": 5}', b"\xff\xfe", b"[" * 100_000],
)
def test_metadata_of_another_form_is_an_error(path, text):
    rewrite(path, lambda members: members.update({"record.json": text}))
    with pytest.raises(RecordError):
        archive.load(path)


def test_metadata_that_a_newer_profkit_added_is_ignored(path):
    edit_meta(path, mood="good")
    assert content(archive.load(path)) == content(records.gpu_record())


def test_a_file_without_row_counts_is_read(path):
    edit_meta(path, rows=None)
    assert content(archive.load(path)) == content(records.gpu_record())


def test_a_table_that_is_missing_is_noticed(path):
    rewrite(path, lambda members: members.pop("steps.parquet"))
    with pytest.raises(RecordError, match="0 of 4 rows of table 'steps'"):
        archive.load(path)


def test_a_table_of_another_form_is_an_error(path):
    rewrite(path, lambda members: members.update({"steps.parquet": b"PAR1" + bytes(50) + b"PAR1"}))
    with pytest.raises(RecordError, match="table 'steps' is damaged"):
        archive.load(path)


def test_a_missing_column_is_named(path):
    edit_table(path, "steps", lambda table: table.drop_columns(["end", "batch"]))
    with pytest.raises(RecordError, match="table 'steps' has no column end, batch"):
        archive.load(path)


def kv_rows():
    return records.rows(SCHEMAS["kv"], [{"step": 0, "layer_kind": "full", "logical_bytes": 5, "tokens": 1}])


def test_a_cache_table_of_the_first_files_is_read(tmp_path):
    record = records.gpu_record()
    record.kv = kv_rows()
    path = archive.save(record, tmp_path / "run")
    first = ["step", "layer_kind", "logical_bytes", "storage_bytes", "tokens", "allocated", "reserved"]
    edit_table(path, "kv", lambda table: table.select(first))
    assert archive.load(path).kv.to_pylist() == kv_rows().to_pylist()


def test_a_size_that_no_cache_has_is_refused(tmp_path):
    record = records.gpu_record()
    record.kv = kv_rows()
    path = archive.save(record, tmp_path / "run")
    edit_table(path, "kv", set_first("logical_bytes", -1))
    with pytest.raises(RecordError, match=r"kv\.logical_bytes holds sizes that no profile has"):
        archive.load(path)


def test_further_columns_are_ignored(path):
    edit_table(path, "steps", lambda table: table.append_column("mood", pa.array(["good"] * len(table))))
    assert content(archive.load(path)) == content(records.gpu_record())


def test_a_column_of_another_type_is_an_error(path):
    edit_table(path, "steps", lambda table: table.set_column(1, "start", pa.array(["soon"] * len(table))))
    with pytest.raises(RecordError, match="'steps'"):
        archive.load(path)


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("events", "op", 10_000, "points to rows that do not exist"),
        ("events", "op", -2, "points to rows that do not exist"),
        ("events", "step", 4, "points to rows that do not exist"),
        ("events", "start", 99_999_999_999, "not in order of start"),
        ("events", "duration", None, "empty cells"),
        ("events", "start", None, "empty cells"),
        ("steps", "end", None, "empty cells"),
        ("steps", "batch", None, "empty cells"),
        ("telemetry", "time", None, "empty cells"),
    ],
)
def test_a_cell_that_would_make_a_wrong_number_is_an_error(path, table, column, value, said):
    edit_table(path, table, set_first(column, value))
    with pytest.raises(RecordError, match=said):
        archive.load(path)


def test_attributes_of_no_event_are_an_error(tmp_path):
    kernels = records.rows(SCHEMAS["kernels"], [{"event": -1, "registers": 3}])
    path = archive.save(Record(Meta(name=""), events=records.gpu_record().events, kernels=kernels), tmp_path / "run")
    with pytest.raises(RecordError, match=r"kernels\.event points to rows that do not exist"):
        archive.load(path)


def test_a_reading_without_a_value_is_kept(path):
    edit_table(path, "telemetry", set_first("value", None))
    assert archive.load(path).telemetry["value"][0].as_py() is None


@pytest.mark.parametrize(
    "claims",
    [
        {"wall_ns": -5},
        {"wall_ns": 2**62},
        {"environment": {"gpus": [{"index": 0}]}},
        {"environment": {"gpus": "abc"}},
        {"environment": {"packages": 5}},
    ],
)
def test_what_no_profile_can_be_is_refused(path, claims):
    edit_meta(path, **claims)
    with pytest.raises(RecordError):
        archive.load(path)


def test_a_phase_that_is_none_is_refused(path):
    edit_table(path, "steps", lambda table: with_column(table, "phase", ["rest"] * len(table)))
    with pytest.raises(RecordError, match="'rest'"):
        archive.load(path)
