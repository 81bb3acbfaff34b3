"""`profkit.sweep` on a CPU: what it measures, keeps, resumes and refuses."""

import gc
import itertools
import time
import weakref

import pandas as pd
import pytest
import torch

import profkit
from profkit.analysis.sweep import TABLE
from profkit.capture.work import planned_bytes
from profkit.errors import OptionError, ProfilerBusyError, RecordError
from profkit.models import random_llama, random_prompt
from profkit.sweeps import Sweep

FAST = {"precision": 0.9, "budget_s": 3.0, "progress": False}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return random_llama("tiny", device="cpu")


@pytest.fixture(scope="module")
def swept(model):
    """A sweep of a real model."""

    def generate(batch, context):
        return model.generate(**random_prompt(model, batch, context), max_new_tokens=4, do_sample=False)

    return profkit.sweep(generate, batch=[1, 2], context=[4, 8], slo="tpot=1min", trace_at={"batch": 2}, **FAST)


def status(sweep):
    return dict(zip(sweep.points.iloc[:, 1], sweep.points["status"], strict=True))


def test_prefill_and_decode_of_a_model_are_measured_apart(swept):
    assert list(swept.table) == ["batch", "context", *TABLE]
    assert sorted(set(swept.table["phase"])) == ["decode", "prefill", "total"]
    samples = swept.samples.merge(swept.points[["point", "batch", "context"]], on="point")
    prefill, decode = (samples[samples["phase"] == phase] for phase in ("prefill", "decode"))
    assert (prefill["query_tokens"] == prefill["context"]).all()
    assert (prefill["step_batch"] == prefill["batch"]).all()
    assert (decode["context_tokens"] >= decode["context"]).all()
    assert (swept.points["tokens_out"] == 4 * swept.points["batch"]).all()
    runs = swept.points.set_index("point")["repetitions"]
    assert (decode.groupby("point").size() == 3 * runs).all()  # the first of four tokens is the prefill's


def test_parts_of_a_run_do_not_add_up_to_more_than_the_run(swept):
    spent = swept.samples.groupby(["point", "repetition", "phase"], observed=True)["duration_ns"].sum().unstack()
    assert (spent["prefill"] + spent["decode"] <= spent["total"]).all()
    assert (spent["prefill"] + spent["decode"] >= 0.5 * spent["total"]).all()


def test_points_run_in_a_shuffled_order_that_the_seed_tells():
    def order(seed):
        made = profkit.sweep(lambda x: x, x=list(range(12)), seed=seed, **FAST)
        return made.points["order"].tolist()

    first = order(1)
    assert sorted(first) == list(range(12))
    assert first != list(range(12))
    assert order(1) == first
    assert order(2) != first


def test_the_shape_of_the_model_is_kept_for_floors(swept, model):
    known = swept.meta.model
    assert known["name"] == "LlamaForCausalLM"
    assert known["parameters"] == sum(p.numel() for p in model.parameters())
    assert {(entry["point"], entry["phase"]) for entry in known["work"]} == set(
        itertools.product(range(4), ("prefill", "decode"))
    )


def test_a_traced_point_has_a_full_run(swept):
    assert list(swept.runs) == ["batch 2, context 4", "batch 2, context 8"]
    run = swept.runs["batch 2, context 8"]
    assert len(run.events) > 100
    assert len(run.steps) == 4
    with pytest.raises(KeyError, match="did you mean 'batch 2, context 4'"):
        swept.runs["batch 2 context 4"]


def test_without_a_gpu_curves_come_without_energy_and_floor_and_say_so(swept):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert swept.table[["energy_j", "joules_per_token", "cost_per_mtok", "floor_ns"]].isna().all().all()
    assert {"energy", "floor"} <= set(swept.meta.not_measured)
    assert swept.points["energy_reason"].notna().all()
    assert "Not measured" in repr(swept)


def test_saved_and_loaded_it_is_the_same(swept, tmp_path):
    path = swept.save(tmp_path / "curves")
    assert path.name == "curves.profsweep"
    for source in (path, tmp_path / "curves"):
        loaded = Sweep.load(source)
        assert loaded.meta == swept.meta
        pd.testing.assert_frame_equal(loaded.table, swept.table)
        pd.testing.assert_frame_equal(loaded.points, swept.points)
        assert list(loaded.runs) == list(swept.runs)
        assert len(loaded.runs["batch 2, context 4"].events) == len(swept.runs["batch 2, context 4"].events)
    with pytest.raises(RecordError, match=r"holds a sweep: open it with profkit.Sweep.load"):
        profkit.load(path)


def test_a_point_that_raises_is_a_result_and_the_others_go_on():
    def cell(batch):
        if batch == 2:
            raise ValueError("odd one")

    made = profkit.sweep(cell, batch=[1, 2, 3], **FAST)
    assert status(made) == {1: "ok", 2: "error", 3: "ok"}
    message = made.points["message"].tolist()[1]
    assert message.startswith("ValueError: odd one (line ")
    assert message.endswith(" of cell)")
    assert made.table["marks"].tolist()[1] == f"error: {message}"


def test_where_every_point_raises_the_error_is_raised():
    def cell(batch):
        raise ValueError(f"never {batch}")

    with pytest.raises(ValueError, match="never") as caught:
        profkit.sweep(cell, batch=[1, 2], **FAST)
    assert caught.traceback[-1].name == "cell"
    assert status(profkit.last_sweep) == {1: "error", 2: "error"}


def full():
    raise MemoryError("full")


@pytest.mark.parametrize("shortage", [lambda: torch.empty(2**50), full])
def test_out_of_memory_is_a_result(shortage):
    def cell(batch):
        if batch == 2:
            shortage()

    made = profkit.sweep(cell, batch=[1, 2, 3], **FAST)
    assert status(made) == {1: "ok", 2: "out of memory", 3: "ok"}
    assert made.points["message"].tolist()[1]
    assert made.points["energy_reason"].notna().all()


def test_memory_by_plan_is_weights_and_cache_at_the_points_batch_and_context():
    model = random_llama("tiny", device="cpu")
    config = model.config
    weights = sum(parameter.nbytes for parameter in model.parameters())
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * model.dtype.itemsize
    axes = {"batch": {3: 3}, "context": {7: 7}}
    assert planned_bytes([model], axes, {"batch": 3, "context": 7}) == weights + 3 * 7 * token
    assert planned_bytes([model], axes, {"batch": 3}) is None
    assert planned_bytes([model, random_llama("tiny", device="cpu")], axes, {"batch": 3, "context": 7}) is None


def test_memory_that_a_failed_point_held_is_given_back():
    held = []

    class Block:
        """Stands for a large tensor: its life can be watched."""

    def cell(batch):
        block = Block()
        if batch == 2:
            held.append(weakref.ref(block))
            raise MemoryError
        if held:
            assert held[0]() is None, "the block of the point before is still held"

    gc.collect()
    made = profkit.sweep(cell, batch=[2, 1, 3], seed=next(s for s in range(99) if _first(s, 3) == 0), **FAST)
    assert status(made) == {1: "ok", 2: "out of memory", 3: "ok"}


def _first(seed, count):
    import random

    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[0]


def interrupting(at):
    def cell(x):
        if x == at:
            raise KeyboardInterrupt

    return cell


def test_an_interrupt_keeps_what_is_done_and_resume_goes_on():
    made = profkit.sweep(interrupting(2), x=[0, 1, 2, 3], seed=1, **FAST)
    assert made.meta.interrupted
    assert "Interrupted: " in repr(made)
    assert status(made)[2] == "skipped"
    done = made.points[made.points["status"] == "ok"]
    assert len(done) < 4

    ran = set()

    def cell(x):
        ran.add(x)

    resumed = profkit.sweep(cell, x=[0, 1, 2, 3], resume=made, **FAST)
    assert set(status(resumed).values()) == {"ok"}
    assert ran == {0, 1, 2, 3} - set(done["x"])
    kept = resumed.samples[resumed.samples["point"].isin(done["point"])]
    assert kept["duration_ns"].tolist() == made.samples["duration_ns"].tolist()
    assert resumed.meta.wall_ns > made.meta.wall_ns


def test_resume_over_longer_axes_measures_what_is_new(tmp_path):
    small = profkit.sweep(lambda x, y: None, x=[1, 2], y=["a"], **FAST)
    ran = set()

    def cell(x, y):
        ran.add((x, y))

    path = small.save(tmp_path / "small")
    large = profkit.sweep(cell, y=["b", "a"], x=[2, 3], resume=path, **FAST)
    assert ran == {(2, "b"), (3, "b"), (3, "a")}
    assert large.points["status"].tolist() == ["ok"] * 4
    row = large.points[(large.points["x"] == 2) & (large.points["y"] == "a")].iloc[0]
    old = small.points[small.points["x"] == 2].iloc[0]
    assert row["wall_ns"] == old["wall_ns"]


def test_a_budget_ends_the_sweep_and_says_what_was_not_run():
    made = profkit.sweep(lambda x: time.sleep(0.2), x=[1, 2, 3, 4, 5, 6], budget_s=0.5, progress=False)
    found = list(status(made).values())
    assert "ok" in found
    assert "skipped" in found
    skipped = made.points.iloc[found.index("skipped")]
    assert skipped["message"] == "the budget of 0.5 s ended before it was measured"


def test_runs_end_when_the_median_is_known():
    made = profkit.sweep(lambda x: time.sleep(0.02), x=[1], precision=0.5, progress=False)
    assert 5 <= made.points["repetitions"][0] < 50
    assert made.table["marks"][0] == ""


def test_tokens_are_told_where_no_step_is_seen():
    silent = profkit.sweep(lambda batch: None, batch=[3], **FAST)
    assert silent.points["tokens_out"].isna().all()
    assert "tokens=" in silent.points["tokens_reason"][0]
    for tokens in (len, lambda result, batch: 5 * batch, "len(result)", "5 * batch"):
        told = profkit.sweep(lambda batch: [0] * 5 * batch, batch=[3], tokens=tokens, **FAST)
        assert told.points["tokens_out"].tolist() == [15]
        assert told.table["tokens_per_s"].notna().all()


def test_tokens_that_cannot_be_counted_are_an_error_of_the_point():
    with pytest.raises(ValueError, match="tokens= gave -1"):
        profkit.sweep(lambda x: None, x=[1], tokens="-1", **FAST)


def test_an_axis_may_hold_models(model):
    other = random_llama("tiny", device="cpu")

    def cell(net, batch):
        net(**random_prompt(model, batch, 4))
        with profkit.step("decode", batch=batch, context_tokens=4):
            pass

    made = profkit.sweep(cell, net={"a": model, "b": other}, batch=[1], **FAST)
    assert made.meta.axes["net"] == ["a", "b"]
    assert len(made.meta.model["work"]) == 2


def noop(batch, context=1):
    """Takes two axes."""


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (noop, {"batch": []}, "axis 'batch' has no value"),
        (noop, {"batch": [1, 1]}, "axis 'batch' has 1 twice"),
        (noop, {"bach": [1]}, "noop takes no argument 'bach'; did you mean 'batch'"),
        (noop, {"context": [1]}, "noop needs an argument 'batch', which is no axis"),
        (noop, {}, "a sweep needs an axis"),
        (noop, {"batch": [1], "slo": "tpop=1ms"}, "no objective 'tpop'"),
        (noop, {"batch": [1], "price": -1}, "price is a number above 0"),
        (noop, {"batch": [1], "budget_s": 0}, "budget_s is a number above 0"),
        (noop, {"batch": [1], "tokens": "1 +"}, "is no expression"),
        (noop, {"batch": [1], "tokens": 7}, "tokens is a function or an expression"),
        (noop, {"batch": [1], "trace_at": {"bath": 1}}, "no axis 'bath' to trace at"),
        (noop, {"batch": [1], "model": 3}, "model is an nn.Module"),
        (noop, {"batch": [1], "resume": 3}, "resume is a Sweep or the path of one"),
    ],
)
def test_what_cannot_be_is_refused(function, arguments, message):
    with pytest.raises(OptionError, match=message):
        profkit.sweep(function, progress=False, **arguments)


def test_resume_with_other_axes_is_refused():
    made = profkit.sweep(lambda x: None, x=[1], **FAST)
    with pytest.raises(OptionError, match="has the axes x, this one y: they must be the same"):
        profkit.sweep(lambda y: None, y=[1], resume=made, **FAST)


def test_a_sweep_inside_a_profile_is_refused():
    with profkit.profile(trace=False), pytest.raises(ProfilerBusyError):
        profkit.sweep(lambda x: None, x=[1], **FAST)
