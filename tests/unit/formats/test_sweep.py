"""A sweep's file: the same when it comes back, and refused when it cannot be one."""

import io
import json
import zipfile

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.records import gpu_record
from unit.sweeps import cpu_sweep, gpu_sweep, sweep_meta

from profkit.analysis.sweep import SweepData
from profkit.errors import RecordError
from profkit.formats import sweep as file


@pytest.fixture
def saved(tmp_path):
    return file.save(gpu_sweep(), {3: file.packed(gpu_record())}, tmp_path / "curves")


def edited(path, change):
    """The file with its members changed: `change` gets and gives a dict of name to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in change(members).items():
            archive.writestr(name, data)
    return path


def with_meta(path, **changes):
    def change(members):
        meta = json.loads(members["sweep.json"])
        return members | {"sweep.json": json.dumps(meta | changes).encode()}

    return edited(path, change)


def with_column(path, table, column, values):
    def change(members):
        name = f"{table}.parquet"
        found = pq.read_table(io.BytesIO(members[name]))
        at = found.column_names.index(column)
        rows = [values] * len(found) if not isinstance(values, list) else values
        found = found.set_column(at, column, pa.array(rows))
        sink = io.BytesIO()
        pq.write_table(found, sink)
        return members | {name: sink.getvalue()}

    return edited(path, change)


@pytest.mark.parametrize("make", [gpu_sweep, cpu_sweep])
def test_what_comes_back_is_what_was_saved(make, tmp_path):
    data = make()
    loaded, runs = file.load(file.save(data, {}, tmp_path / "curves"))
    assert loaded.meta == data.meta
    assert loaded.points.equals(data.points)
    assert loaded.samples.equals(data.samples)
    assert runs == {}


def test_axes_of_every_kind_come_back(tmp_path):
    axes = {"a": [1, 2], "b": [0.5, 1.0], "c": [True, False], "d": ["x", "y"]}
    rows = [{"point": 0, "status": "ok", "a": 1, "b": 0.5, "c": True, "d": "x"}]
    loaded, _ = file.load(file.save(SweepData.of(sweep_meta(axes=axes), rows, []), {}, tmp_path / "kinds"))
    assert loaded.meta.axes == axes
    assert [type(values[0]) for values in loaded.meta.axes.values()] == [int, float, bool, str]
    assert {name: loaded.points[name].to_pylist()[0] for name in axes} == {"a": 1, "b": 0.5, "c": True, "d": "x"}


def test_traced_records_come_back(saved):
    _, runs = file.load(saved)
    assert list(runs) == [3]
    assert file.unpacked(runs[3], saved).events.equals(gpu_record().events)


def test_the_same_sweep_gives_the_same_bytes(saved, tmp_path):
    again = file.save(gpu_sweep(), {3: file.packed(gpu_record())}, tmp_path / "again")
    assert saved.read_bytes() == again.read_bytes()


def test_a_sweep_is_told_from_a_record(saved, tmp_path):
    assert file.is_sweep(saved)
    assert not file.is_sweep(tmp_path / "nowhere")
    (tmp_path / "text").write_text("hello")
    assert not file.is_sweep(tmp_path / "text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: with_meta(path, schema_version=99), "has schema version 99"),
        (lambda path: with_meta(path, slo_ns={"speed": 1}), "'speed' is no objective"),
        (lambda path: with_meta(path, slo_ns={"tpot": -1}), "is one that no sweep has"),
        (lambda path: with_meta(path, axes={"batch": [1, "a"], "context": [1]}), "of several kinds"),
        (lambda path: with_meta(path, axes={"batch": [1], "context": [512]}), "column batch holds values"),
        (lambda path: with_meta(path, axes={"other": [1]}), "has no column other"),
        (lambda path: with_meta(path, environment={"gpus": "many"}), "environment.gpus is no list"),
        (lambda path: with_meta(path, name=7), "is not a sweep's metadata"),
        (lambda path: with_column(path, "points", "status", "fine"), "column status holds 'fine'"),
        (lambda path: with_column(path, "points", "point", 1), "or to two of one number"),
        (lambda path: with_column(path, "points", "message", "x" * 20_000), "words of 20,000 letters"),
        (lambda path: with_column(path, "samples", "point", 99), "samples belong to points that do not exist"),
        (lambda path: with_column(path, "samples", "duration_ns", -5), "holds times that no sweep has"),
        (lambda path: with_column(path, "samples", "duration_ns", 2**61), "holds times that no sweep has"),
        (lambda path: with_column(path, "samples", "duration_ns", "long"), "does not fit its schema"),
        (lambda path: edited(path, lambda m: {k: v for k, v in m.items() if "points" not in k}), "no points.parquet"),
        (lambda path: edited(path, lambda m: {"other": b""}), "it has no sweep.json"),
        (lambda path: edited(path, lambda m: m | {"samples.parquet": b"PAR1"}), "table 'samples' is damaged"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused(saved, change, message):
    with pytest.raises(RecordError, match=message):
        file.load(change(saved))


def test_a_hidden_table_is_noticed(saved):
    def change(members):
        short = pq.read_table(io.BytesIO(members["samples.parquet"])).slice(0, 5)
        sink = io.BytesIO()
        pq.write_table(short, sink)
        return members | {"samples.parquet": sink.getvalue()}

    with pytest.raises(RecordError, match=r"is damaged: 5 of \d+ rows of table 'samples' are in it"):
        file.load(edited(saved, change))


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "text.profsweep").write_text("hello")
    with pytest.raises(RecordError, match="damaged"):
        file.load(tmp_path / "text.profsweep")
    with pytest.raises(RecordError, match="no sweep at"):
        file.load(tmp_path / "nowhere")


def test_a_traced_record_that_is_damaged_does_not_stop_the_sweep(saved):
    _, runs = file.load(edited(saved, lambda m: m | {"runs/3.profkit": b"nothing"}))
    with pytest.raises(RecordError, match="damaged"):
        file.unpacked(runs[3], saved)


def test_meta_is_plain_json(saved):
    with zipfile.ZipFile(saved) as archive:
        meta = json.loads(archive.read("sweep.json"))
    assert meta["axes"] == {"batch": [1, 8, 64, 512], "context": [512, 4096]}
    assert {name: value for name, value in meta.items() if name != "rows"} == msgspec.to_builtins(gpu_sweep().meta)
