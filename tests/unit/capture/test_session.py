"""A profile from start to record on this machine, and what it leaves behind."""

import contextlib
import threading
import time

import pytest
import torch
from torch.profiler import ProfilerActivity

import profkit
from profkit.capture.session import Options, active
from profkit.errors import OptionError, ProfilerBusyError
from profkit.record import HOST, Phase

WARM_UP = {"aten::rsqrt", "aten::silu", "aten::pow"}  # of profkit's own operators before the block


class Gpt(torch.nn.Module):
    """A model without a cache, with its own `generate`."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(64, 8), torch.nn.Linear(8, 64)

    def forward(self, idx):
        return self.head(self.embed(idx))

    @torch.no_grad()
    def generate(self, idx, max_new_tokens):
        for _ in range(max_new_tokens):
            idx = torch.cat([idx, self(idx)[:, -1:].argmax(-1)], 1)
        return idx


@pytest.fixture
def model():
    return Gpt()


@pytest.fixture
def ids():
    return torch.ones(2, 5, dtype=torch.long)


def names(run, kind="op"):
    return run.events["name"][run.events["kind"] == kind].tolist()


def is_restored(model):
    own = "generate" in vars(Gpt) and not hasattr(Gpt.generate, "_profkit")
    return active() is None and own and not model._forward_hooks and not model._forward_pre_hooks


def test_a_profile_has_the_blocks_operators_and_steps(model, ids):
    with profkit.profile("baseline", model=model) as session:
        model.generate(ids, 3)
    run = session.run
    assert run.name == "baseline"
    assert names(run).count("aten::embedding") == 3
    assert run.steps["phase"].tolist() == ["prefill", "decode", "decode"]
    assert run.steps["tokens_out"].tolist() == [2, 2, 2]
    assert run.warnings == []
    assert is_restored(model)


def test_events_and_steps_lie_inside_the_window(model, ids):
    with profkit.profile(model=model) as session:
        model.generate(ids, 3)
    run = session.run
    wall = run.meta.wall_ns
    assert wall >= run.meta.host_wall_ns > 0
    assert (run.events["start"] >= 0).all()
    assert (run.events["start"] + run.events["duration"] <= wall).all()
    assert run.events["start"].is_monotonic_increasing
    assert (run.steps["sent"] >= 0).all()
    assert (run.steps["sent"] <= run.steps["start"]).all()
    assert (run.steps["start"] < run.steps["end"]).all()
    assert (run.steps["end"] <= wall).all()
    assert (run.events["device"] == HOST).all()


def test_operators_know_their_step(model, ids):
    with profkit.profile(model=model) as session:
        torch.ones(3).sin()
        model.generate(ids, 3)
    events = session.run.events.set_index("name")["step"]
    assert events["aten::embedding"].tolist() == [0, 1, 2]
    assert events["aten::sin"] == -1


def test_profkits_own_operators_are_not_in_the_record():
    with profkit.profile() as session:
        torch.ones(3).sin()
    run = session.run
    assert names(run) == ["aten::ones", "aten::empty", "aten::fill_", "aten::sin"]
    assert set(run.events["name"].cat.categories) == set(names(run))
    assert not WARM_UP & set(run.kernels()["name"])


def test_an_empty_block_is_a_profile():
    with profkit.profile() as session:
        pass
    assert len(session.run.events) == 0
    assert session.run.kernels().empty


def test_operators_of_other_threads_are_recorded():
    with profkit.profile() as session:
        thread = threading.Thread(target=lambda: torch.ones(3).sin())
        thread.start()
        thread.join()
        torch.ones(3).cos()
    lanes = session.run.events.set_index("name")["lane"]
    assert lanes["aten::sin"] != lanes["aten::cos"]


def test_two_profiles_in_a_row_know_nothing_of_each_other(model, ids):
    with profkit.profile("first", model=model) as first:
        model.generate(ids, 3)
    with profkit.profile("second") as second:
        torch.ones(3).cos()
    assert len(first.run.steps) == 3
    assert len(second.run.steps) == 0
    assert "aten::embedding" not in names(second.run)
    assert first.run.meta.id != second.run.meta.id
    assert second.run.meta.started_unix_ns >= first.run.meta.started_unix_ns + first.run.meta.wall_ns


def test_a_profile_says_when_it_was_and_what_was_asked_for():
    before = time.time_ns()
    with profkit.profile("named", shapes=True, telemetry_hz=5) as session:
        pass
    meta = session.run.meta
    assert before <= meta.started_unix_ns <= time.time_ns()
    assert meta.profkit_version == profkit.__version__
    assert meta.options["shapes"] is True
    assert meta.options["telemetry_hz"] == 5


def test_without_a_gpu_it_says_what_is_missing_and_why():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with profkit.profile() as session:
        pass
    missing = session.run.meta.not_measured
    assert {"gpu_busy", "peak_memory", "energy"} <= set(missing)
    assert all(missing.values())
    assert session.run.idle().busy_ns is None


def test_a_profile_inside_a_profile_is_refused_and_the_outer_one_goes_on():
    with profkit.profile("outer") as session:
        torch.ones(3).sin()
        with pytest.raises(ProfilerBusyError, match="profile 'outer' is running already"), profkit.profile("inner"):
            torch.ones(3).tan()
        torch.ones(3).cos()
    assert {"aten::sin", "aten::cos"} <= set(names(session.run))
    assert "aten::tan" not in names(session.run)


def test_a_profiler_inside_keeps_its_results_and_ours_says_what_it_lost(model, ids):
    with profkit.profile(model=model) as session:
        with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as theirs:
            torch.ones(3).sin()
        model.generate(ids, 3)
    assert "aten::sin" in {event.name for event in theirs.events()}
    run = session.run
    assert any("torch.profiler" in warning and "missing here" in warning for warning in run.warnings)
    assert "another profiler" in run.meta.not_measured["kernels"]
    assert len(run.events) == 0
    assert len(run.steps) == 3
    with profkit.profile() as after:
        torch.ones(3).cos()
    assert "aten::cos" in names(after.run)


def test_under_a_running_profiler_it_refuses_and_puts_everything_back(model):
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as theirs:
        with pytest.raises(ProfilerBusyError, match=r"--no-trace \(trace=False\)"), profkit.profile(model=model):
            pass
        assert is_restored(model)
        torch.ones(3).sin()
    assert "aten::sin" in {event.name for event in theirs.events()}
    with profkit.profile() as session:
        torch.ones(3).cos()
    assert "aten::cos" in names(session.run)


def test_without_a_trace_there_are_steps_and_a_reason(model, ids):
    with profkit.profile(model=model, trace=False) as session:
        model.generate(ids, 3)
    run = session.run
    assert len(run.steps) == 3
    assert len(run.events) == 0
    assert run.meta.not_measured["kernels"] == "profiled with --no-trace"
    assert run.meta.profiler_added_ns is None


def test_without_a_trace_it_runs_beside_another_profiler(model, ids):
    theirs = torch.profiler.profile(activities=[ProfilerActivity.CPU])
    with theirs, profkit.profile(model=model, trace=False) as session:
        model.generate(ids, 3)
    assert len(session.run.steps) == 3
    assert "aten::embedding" in {event.name for event in theirs.events()}


@pytest.mark.parametrize("error", [ValueError("on purpose"), KeyboardInterrupt()])
def test_an_exception_passes_through_and_the_record_up_to_it_is_kept(model, ids, error):
    def block():
        model.generate(ids, 3)
        raise error

    session = profkit.profile(model=model)
    with pytest.raises(type(error)), session:
        block()
    run = session.run
    assert run.meta.error.startswith(type(error).__name__)
    assert len(run.steps) == 3
    assert names(run).count("aten::embedding") == 3
    assert is_restored(model)
    assert profkit.last is run


def test_an_exception_inside_the_model_leaves_it_unwatched(model):
    with pytest.raises(IndexError), profkit.profile(model=model):
        model(torch.full((1, 3), 999))
    assert is_restored(model)


def test_a_block_that_used_no_model_says_so():
    with profkit.profile() as session:
        torch.ones(3).sin()
    assert "names no model" in session.run.meta.not_measured["steps"]


def test_a_model_of_numbers_says_that_it_got_no_tokens():
    model = torch.nn.Linear(4, 4)
    with profkit.profile(model=model) as session:
        model(torch.ones(2, 4))
    assert "without token ids" in session.run.meta.not_measured["steps"]


def test_a_model_that_was_not_called_says_what_may_hide_it(model):
    with profkit.profile(model=model) as session:
        pass
    assert "no forward pass of the Gpt that existed when it began was seen" in session.run.meta.not_measured["steps"]


def test_several_models_can_be_named(ids):
    first, second = Gpt(), Gpt()
    with profkit.profile(model=[first, second]) as session:
        first(ids)
        second(ids)
    assert len(session.run.steps) == 2


# Steps and ranges that the code marks by itself.


def test_marked_steps_are_recorded_as_they_are_said():
    with profkit.profile() as session:
        with profkit.step("prefill", batch=2, query_tokens=7, context_tokens=0):
            torch.ones(3).sin()
        with profkit.step("decode", batch=2, context_tokens=7):
            torch.ones(3).cos()
        with profkit.step(Phase.DECODE, batch=2, context_tokens=8, tokens_out=1, generation=0):
            pass
    run = session.run
    columns = ["phase", "batch", "query_tokens", "context_tokens", "tokens_out"]
    assert run.steps[columns].to_numpy().tolist() == [
        ["prefill", 2, 7, 0, 2],
        ["decode", 2, 1, 7, 2],
        ["decode", 2, 1, 8, 1],
    ]
    assert run.events.set_index("name")["step"]["aten::cos"] == 1
    assert "steps" not in run.meta.not_measured


def test_a_marked_step_that_raised_is_recorded_up_to_there():
    with profkit.profile() as session, contextlib.suppress(ValueError), profkit.step("decode", batch=1):
        raise ValueError("on purpose")
    assert len(session.run.steps) == 1


def test_outside_a_profile_a_marked_step_does_nothing():
    with profkit.step("decode", batch=1):
        reached = True
    assert reached
    assert active() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"phase": "encode", "batch": 1}, "'prefill' or 'decode', not 'encode'"),
        ({"phase": "decode", "batch": 0}, "batch is a whole number from 1 to .*, not 0"),
        ({"phase": "prefill", "batch": 1, "query_tokens": 0}, "query_tokens is a whole number from 1 to .*, not 0"),
    ],
)
def test_a_step_that_cannot_be_is_an_error(arguments, said):
    with pytest.raises(OptionError, match=said), profkit.step(**arguments):
        pass


def test_a_region_is_a_named_range_around_its_operators():
    with profkit.profile() as session, profkit.region("sampling"):
        torch.ones(3).sin()
    events = session.run.events
    assert names(session.run, "annotation") == ["sampling"]
    around, inside = (events[events["name"] == name].iloc[0] for name in ("sampling", "aten::sin"))
    assert around["start"] <= inside["start"]
    assert inside["start"] + inside["duration"] <= around["start"] + around["duration"]


def test_outside_a_profile_a_region_lets_errors_through_and_starts_none():
    with pytest.raises(LookupError, match="mine"), profkit.region("nothing"):
        raise LookupError("mine")
    assert active() is None


# Options.


@pytest.mark.parametrize("option", ["shapes", "stacks"])
def test_options_of_the_trace_need_it(option):
    with pytest.raises(OptionError, match=f"{option} need the trace"):
        Options(trace=False, **{option: True})


@pytest.mark.parametrize("hz", [0, -1, 501, float("nan")])
def test_a_rate_that_cannot_be_is_an_error_and_nothing_is_left_running(hz):
    with pytest.raises(OptionError, match="telemetry_hz"), profkit.profile(telemetry_hz=hz):
        pass
    assert active() is None


def test_what_is_no_model_is_an_error_that_says_what_it_is():
    with pytest.raises(OptionError, match=r"nn\.Module or a list of them, not str"):
        profkit.profile(model="gpt2")


def test_stacks_are_frames_of_python(model, ids):
    with profkit.profile(model=model, stacks=True) as session:
        model.generate(ids, 2)
    frames = names(session.run, "python")
    if not frames:  # torch 2.11
        assert "frames of Python" in session.run.meta.not_measured["stacks"]
    else:
        assert any(frame.endswith(": generate") for frame in frames)
        assert "stacks" not in session.run.meta.not_measured


def test_a_marked_step_is_one_whatever_runs_inside(model, ids):

    with profkit.profile("marked", model=model) as session:
        for phase in ("prefill", "decode"):
            with profkit.step(phase, batch=2), profkit.step("decode", batch=7):
                model(ids)
    assert session.run.steps[["phase", "batch"]].to_numpy().tolist() == [["prefill", 2], ["decode", 2]]


def test_an_error_without_a_text_stays_the_users():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    with pytest.raises(Mute), profkit.profile("mute") as session:
        raise Mute
    assert session.run.meta.error.startswith("Mute")
