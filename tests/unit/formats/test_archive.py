"""The `.profkit` file: what goes in comes out, under the name that was asked for."""

import resource
import stat
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from unit import records
from unit.any_record import any_record
from unit.archives import content

from profkit.errors import RecordError
from profkit.formats import archive
from profkit.record import SCHEMAS, EventKind, Meta, Metric, Phase, Record


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
