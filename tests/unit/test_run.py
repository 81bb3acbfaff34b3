"""A run: its tables, its analyses, its file; and the profile that makes one."""

import pandas as pd
import pytest
import torch
from unit import records

import profkit
from profkit.errors import OptionError, RecordError
from profkit.run import Run

MS = 1_000_000


class Gpt(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(64, 8), torch.nn.Linear(8, 64)

    def forward(self, idx):
        return self.head(self.embed(idx))


IDS = torch.ones(1, 5, dtype=torch.long)
module_of_this_file = Gpt()


@pytest.fixture
def run():
    return Run(records.gpu_record(warnings=["careful"]))


def test_a_run_is_its_record(run):
    assert (run.name, run.meta.wall_ns, run.warnings) == ("baseline", 100 * MS, ["careful"])
    assert repr(run) == "<Run 'baseline': 0.1 s, 18 events, 4 steps>"


def test_tables_are_frames_of_the_record(run):
    assert len(run.events) == len(run.record.events)
    assert len(run.telemetry) == len(run.record.telemetry)
    assert run.steps["end"].tolist() == [30 * MS, 50 * MS, 70 * MS, 90 * MS]
    assert run.kv["tokens"].tolist() == [64, 65, 66, 67]
    assert run.kv_growth().bytes_per_token == 131_072
    assert run.memory_peak() == run.summary().memory
    assert len(run.memory) == 7
    assert all(isinstance(frame, pd.DataFrame) for frame in (run.events, run.telemetry, run.steps, run.kv))


def test_analyses_are_those_of_the_record(run):
    assert run.kernels()["name"][0] == records.MATMUL
    assert run.kernels("kind")["name"].tolist() == ["matmul", "elementwise", "attention"]
    assert run.idle().busy_ns == 38 * MS
    assert run.idle(device=0).device == 0
    assert run.idle_by_step()["busy_ns"].tolist() == [20 * MS, 6 * MS, 6 * MS, 6 * MS]


def test_a_saved_run_is_the_same_run(run, tmp_path):
    path = run.save(tmp_path / "baseline")
    loaded = profkit.load(path)
    assert path.name == "baseline.profkit"
    assert loaded.meta == run.meta
    pd.testing.assert_frame_equal(loaded.events, run.events)
    pd.testing.assert_frame_equal(loaded.kernels(), run.kernels())
    assert loaded.idle() == run.idle()


def test_a_file_that_is_no_record_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no record at"):
        profkit.load(tmp_path / "nothing")


def test_the_run_is_there_when_the_block_has_ended():
    session = profkit.profile("later")
    with session:
        assert not session.ended
        with pytest.raises(RuntimeError, match="after its `with` block"):
            _ = session.run
    assert session.ended
    assert session.run.name == "later"


def test_the_newest_run_is_kept():
    with profkit.profile("first"):
        pass
    with profkit.profile("second") as second:
        pass
    assert profkit.last is second.run


def test_the_model_is_found_where_the_function_names_it():
    model = Gpt()
    with profkit.profile() as session:
        model(IDS)
    assert len(session.run.steps) == 1


def test_the_model_is_found_where_it_is_a_global():
    with profkit.profile() as session:
        module_of_this_file(IDS)
    assert len(session.run.steps) == 1


def test_a_model_that_is_named_is_the_only_one_watched():
    model, other = Gpt(), Gpt()
    with profkit.profile(model=other) as session:
        model(IDS)
        other(IDS)
    assert len(session.run.steps) == 1


def test_one_profile_can_run_twice():
    session = profkit.profile("again")
    with session:
        pass
    first = session.run
    with session:
        pass
    assert session.run is not first


def test_options_are_checked_before_the_block():
    with pytest.raises(OptionError, match="need the trace"):
        profkit.profile(trace=False, stacks=True)
