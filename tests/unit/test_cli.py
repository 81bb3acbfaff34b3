"""The command `profkit`, as a shell sees it."""

from __future__ import annotations

import pytest
from unit.records import gpu_record

from profkit.cli import main
from profkit.formats import archive


@pytest.fixture
def saved(tmp_path):
    record = gpu_record()
    record.meta.name = "../../escaped"
    return archive.save(record, tmp_path / "deep" / "down" / "run")


def test_report_writes_into_its_folder_alone_whatever_the_records_name(saved, tmp_path, capsys):
    output = saved.parent / "out"
    before = set(tmp_path.rglob("*"))
    assert main(["report", str(saved), "-o", str(output)]) == 0
    new = set(tmp_path.rglob("*")) - before
    assert {path for path in new if output not in path.parents} == {output}
    assert (output / "report.html").exists()
    assert "GPU was busy" in capsys.readouterr().out


@pytest.mark.parametrize("record", ["missing.profkit", "."])
def test_a_record_that_cannot_be_read_is_a_message_and_exit_code_2(record, tmp_path, capsys):
    assert main(["report", str(tmp_path / record), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("profkit: ")


def test_an_output_that_is_a_file_is_a_message(saved, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert main(["report", str(saved), "-o", str(tmp_path / "file")]) == 2
    assert (tmp_path / "file").read_text() == "kept"
    assert "file" in capsys.readouterr().err
