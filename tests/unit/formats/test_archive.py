"""The `.profkit` file: what goes in comes out, and nothing else gets in."""

import json
import os
import random
import resource
import stat
import struct
import subprocess
import sys
import textwrap
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit import records

from profkit.errors import RecordError
from profkit.formats import archive
from profkit.record import SCHEMA_VERSION, SCHEMAS, EventKind, MemoryKind, Meta, Metric, Phase, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REFERENCES = {("events", "op"): "events", ("events", "step"): "steps", ("kv", "step"): "steps"}
ALWAYS_KNOWN = {
    "events": set(SCHEMAS["events"].names),
    "kernels": {"event"},
    "telemetry": {"time", "device", "metric"},
    "steps": {"sent", "start", "end", "host_duration", "phase", "batch", "query_tokens", "generation"},
    "kv": {"step", "layer_kind"},
    "memory": {"device", "size", "category"},
    "requests": set(),
    "ops": {"event", "inputs"},
}


TIMES = st.integers(-(2**60), 2**60 - 1)
KNOWN = {
    ("events", "kind"): st.sampled_from([str(kind) for kind in EventKind]),
    ("events", "start"): TIMES,
    ("events", "duration"): st.integers(0, 2**60 - 1),
    ("steps", "phase"): st.sampled_from([str(phase) for phase in Phase]),
    ("steps", "start"): TIMES,
    ("steps", "end"): TIMES,
    ("memory", "category"): st.sampled_from([str(kind) for kind in MemoryKind]),
    ("memory", "size"): st.integers(0, 2**31 - 1),
    ("memory", "start"): TIMES,
    ("memory", "end"): TIMES,
    **{("kv", name): st.integers(0, 2**31 - 1) for name in SCHEMAS["kv"].names[4:]},
}


def cells(kind):
    """Values of a column's type."""
    if pa.types.is_dictionary(kind):
        return TEXT
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=False, allow_infinity=False)
    if pa.types.is_fixed_size_list(kind):
        return st.lists(cells(kind.value_type), min_size=3, max_size=3)
    edge = 2 ** (kind.bit_width - 1)
    return st.integers(-edge, edge - 1)


@st.composite
def any_record(draw):
    """A small record: any value that a column can hold, references within range, events in order."""
    counts = {name: draw(st.integers(0, 4)) for name in SCHEMAS}
    if not counts["events"]:
        counts["kernels"] = counts["ops"] = 0
    tables = {}
    for name, schema in SCHEMAS.items():
        columns = {}
        for field in schema:
            values = cells(field.type)
            if (name, field.name) in REFERENCES:
                values = st.integers(-1, counts[REFERENCES[name, field.name]] - 1)
            if (name, field.name) in KNOWN:
                values = KNOWN[name, field.name]
            if (name, field.name) in {("kernels", "event"), ("ops", "event")}:
                values = st.integers(0, max(counts["events"] - 1, 0))
            if field.name not in ALWAYS_KNOWN[name]:
                values = st.none() | values
            columns[field.name] = draw(st.lists(values, min_size=counts[name], max_size=counts[name]))
        if name == "events":
            columns["start"].sort()
        tables[name] = pa.table(columns, schema=schema)
    meta = Meta(
        name=draw(TEXT),
        wall_ns=draw(st.integers(0, 2**60 - 1)),
        energy_j=draw(st.dictionaries(st.integers(0, 8), st.floats(0, 1e9), max_size=2)),
        options=draw(st.dictionaries(TEXT, st.booleans() | TEXT | st.none(), max_size=3)),
        warnings=draw(st.lists(TEXT, max_size=2)),
        source=draw(st.none() | TEXT),
    )
    return Record(meta, **tables)


def content(record):
    return record.meta, {name: table.to_pylist() for name, table in record.tables.items()}


@pytest.fixture
def path(tmp_path):
    return archive.save(records.gpu_record(), tmp_path / "run")


def rewrite(path, change, **options):
    """The file with its members, as a dict of bytes, changed."""
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as target:
        for name, data in members.items():
            target.writestr(name, data)


def edit_meta(path, **changes):
    def change(members):
        members["record.json"] = json.dumps(json.loads(members["record.json"]) | changes).encode()

    rewrite(path, change)


def edit_table(path, name, change):
    def rewritten(members):
        table = change(pq.read_table(pa.BufferReader(members[f"{name}.parquet"])))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        members[f"{name}.parquet"] = sink.getvalue().to_pybytes()

    rewrite(path, rewritten)


# Round trip.


@given(any_record())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60, deadline=None)
def test_every_record_comes_back_as_it_was(tmp_path_factory, record):
    path = archive.save(record, tmp_path_factory.mktemp("record") / "run")
    loaded = archive.load(path)
    assert content(loaded) == content(record)
    assert {name: table.schema for name, table in loaded.tables.items()} == SCHEMAS


@pytest.mark.parametrize(
    "make", [records.gpu_record, records.cpu_record, records.untraced_record, records.empty_record]
)
def test_a_record_has_one_file_whatever_the_day(make, tmp_path):
    first, second = (archive.save(make(), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    assert archive.save(archive.load(tmp_path / "a.profkit"), tmp_path / "c").read_bytes() == first


def test_every_kind_phase_and_metric_has_its_name_in_the_file(tmp_path):
    events = records.Events()
    for at, kind in enumerate(EventKind):
        events.add(kind, f"a {kind}", at, 1)
    telemetry = [{"time": 0, "device": 0, "metric": str(metric), "value": 1.0} for metric in Metric]
    steps = [records.step(phase, at, at + 1, 1) for at, phase in enumerate(Phase)]
    tables = {"telemetry": telemetry, "steps": steps}
    tables = {name: records.rows(SCHEMAS[name], rows) for name, rows in tables.items()}
    loaded = archive.load(archive.save(Record(Meta(name="all"), events=events.table(), **tables), tmp_path / "run"))
    assert loaded.events["kind"].to_pylist() == [str(kind) for kind in EventKind]
    assert loaded.telemetry["metric"].to_pylist() == [metric.value for metric in Metric]
    assert loaded.steps["phase"].to_pylist() == [str(phase) for phase in Phase]


def test_text_of_strangers_comes_back_as_it_was(tmp_path):
    for text in ("</script><b>", "日本 \U0001f600", "\x00\n\t", "a" * 10_000, '"quoted"'):
        record = records.hostile_record(text)
        assert content(archive.load(archive.save(record, tmp_path / "run"))) == content(record)


# Names of files.


@pytest.mark.parametrize(
    ("given_name", "written"),
    [("run", "run.profkit"), ("run.profkit", "run.profkit"), ("run.zip", "run.zip"), ("new/folder/run", None)],
)
def test_a_path_without_a_suffix_gets_ours(tmp_path, given_name, written):
    path = archive.save(records.empty_record(), tmp_path / given_name)
    assert path == tmp_path / (written or f"{given_name}.profkit")
    assert path.exists()


def test_a_record_is_found_without_its_suffix(path):
    assert content(archive.load(path.with_suffix(""))) == content(archive.load(str(path)))


def test_the_file_can_be_read_by_whom_other_new_files_can(path, tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


# Writing.


def test_a_newer_record_replaces_the_file(path):
    archive.save(records.cpu_record(), path)
    assert content(archive.load(path)) == content(records.cpu_record())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(path):
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(RecordError, match=r"cannot save .* still in memory"):
            archive.save(records.gpu_record(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_folder_in_its_place_is_an_error_and_stays(tmp_path):
    folder = tmp_path / "run.profkit"
    folder.mkdir()
    with pytest.raises(RecordError, match="cannot save"):
        archive.save(records.empty_record(), folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.profkit"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RecordError, match="cannot save"):
        archive.save(records.empty_record(), tmp_path / "file" / "run")


# What is no record.


def test_no_such_file(tmp_path):
    with pytest.raises(RecordError, match=r"no record at .*nothing"):
        archive.load(tmp_path / "nothing")


def test_a_folder(tmp_path):
    with pytest.raises(RecordError, match=r"cannot read .*: Is a directory"):
        archive.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK", b"{}", b"\x80\x04\x95" + bytes(40), bytes(5_000)])
def test_another_file(tmp_path, data):
    (tmp_path / "run.profkit").write_bytes(data)
    with pytest.raises(RecordError, match=r"not a \.profkit record, or it is damaged"):
        archive.load(tmp_path / "run.profkit")


def test_another_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "run.profkit", "w") as other:
        other.writestr("readme.txt", "hello")
    with pytest.raises(RecordError, match=r"not a .profkit record: it has no record\.json"):
        archive.load(tmp_path / "run.profkit")


def test_a_file_that_may_not_be_read(path):
    path.chmod(0o000)
    me = os.geteuid()
    if me == 0:  # root may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(RecordError, match=r"cannot read .*: Permission denied"):
            archive.load(path)
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RecordError):
        archive.load(path)


def flips(data):
    """200 places all over the file, and every byte of the zip's directory at its end."""
    places = random.Random(0)
    anywhere = [(places.randrange(len(data)), places.randrange(8)) for _ in range(200)]
    directory = data.index(b"PK\x01\x02")
    return anywhere + [(at, places.randrange(8)) for at in range(directory, len(data))]


def test_a_flipped_bit_is_an_error_or_changes_nothing(path):
    whole, data = content(archive.load(path)), path.read_bytes()
    noticed = 0
    for at, bit in flips(data):
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        path.write_bytes(broken)
        try:
            assert content(archive.load(path)) == whole, f"bit {bit} of byte {at}"
        except RecordError:
            noticed += 1
    assert noticed > 200


# Sizes.


def test_a_member_that_declares_more_than_a_record_has_is_refused(path):
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", data, entry + 24, 0xFFFFFFF0)  # the uncompressed size
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"would unpack to 4,096 MiB"):
        archive.load(path)


def test_metadata_of_unusual_size_is_refused(path):
    edit_meta(path, source="a" * (archive.MAX_META_BYTES + 2**20))
    with pytest.raises(RecordError, match=r"record\.json would unpack to 65 MiB"):
        archive.load(path)


def test_a_table_of_more_rows_than_fit_is_refused_before_it_is_unpacked(path):
    """Parquet packs equal rows to next to nothing."""
    schema = pa.schema([(name, pa.int64()) for name in SCHEMAS["requests"].names[:4]])
    part = pa.table({name: pa.nulls(10_000_000, pa.int64()) for name in schema.names}, schema=schema)

    def enlarge(members):
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, schema) as writer:
            for _ in range(10):
                writer.write_table(part)
        members["requests.parquet"] = sink.getvalue().to_pybytes()

    rewrite(path, enlarge)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(RecordError, match="would unpack to"):
        archive.load(path)


def test_a_compressed_member_is_unpacked_to_the_size_that_it_declares(path):
    rewrite(path, lambda members: None, compression=zipfile.ZIP_DEFLATED)
    assert content(archive.load(path)) == content(records.gpu_record())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_bounded_is_refused(path, method):
    rewrite(path, lambda members: None, compression=method)
    with pytest.raises(RecordError, match="compressed in a way that records are not"):
        archive.load(path)


# Contents.


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


def set_first(column, value):
    def change(table):
        at = table.column_names.index(column)
        values = [value, *table[column].to_pylist()[1:]]
        return table.set_column(at, column, pa.array(values, table[column].type))

    return change


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


def test_opening_a_record_and_summing_it_up_needs_no_torch(path):
    code = f"""
        import sys
        import profkit
        from profkit.analysis.summary import summarize
        run = profkit.load({str(path)!r})
        summarize(run.record), run.kernels(), run.idle(), run.idle_by_step(), run.steps, run.events, repr(run)
        heavy = {{"torch", "transformers", "matplotlib", "ipywidgets", "IPython", "pynvml", "triton"}}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


def with_column(table, name, values):
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values).dictionary_encode())
