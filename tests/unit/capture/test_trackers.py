"""`track_kv`: engines that tell the size of their cache themselves."""

import pytest
import torch

import profkit
from profkit.capture.kvlayers import Size
from profkit.capture.trackers import sizes_of, trackers
from profkit.errors import OptionError
from profkit.models import random_llama


@pytest.fixture(autouse=True)
def _none_left():
    yield
    assert not trackers


def engine(steps=2):
    """The loop of an engine that marks its steps."""
    for at in range(steps):
        with profkit.step(phase="decode" if at else "prefill", batch=1, query_tokens=1, context_tokens=at):
            torch.ones(2)


def test_sizes_are_read_at_the_end_of_each_step():
    held = []
    with profkit.profile("kv", trace=False) as session, profkit.track_kv(lambda: {"full": 100 * len(held)}):
        for _ in range(3):
            with profkit.step(phase="decode", batch=1):
                held.append(1)
    kv = session.run.kv
    assert list(kv["step"]) == [0, 1, 2]
    assert list(kv["logical_bytes"]) == [100, 200, 300]
    assert kv["storage_bytes"].isna().all()


def test_forwards_that_are_found_are_tracked_beside_their_own_cache():
    model = random_llama("tiny")
    with profkit.profile("kv", model=model, trace=False) as session, profkit.track_kv(lambda: {"prefix cache": 7}):
        model(torch.ones(1, 4, dtype=torch.int64))
    assert list(session.run.kv["layer_kind"]) == ["full", "prefix cache"]


def test_set_in_a_profile_it_ends_with_it():
    with profkit.profile("kv", trace=False) as session:
        profkit.track_kv(lambda: {"full": 1})
        engine()
    assert len(session.run.kv) == 2
    with profkit.profile("next", trace=False) as session:
        engine()
    assert not len(session.run.kv)


def test_set_before_a_profile_it_stays_until_closed():
    tracker = profkit.track_kv(lambda: {"full": 1})
    for _ in range(2):
        with profkit.profile("kv", trace=False) as session:
            engine()
        assert len(session.run.kv) == 2
    tracker.close()
    tracker.close()


def test_an_error_is_said_and_ends_nothing():
    def fails():
        raise RuntimeError("no such pool")

    with profkit.profile("kv", trace=False) as session, profkit.track_kv(fails):
        engine(3)
    assert len(session.run.steps) == 3
    assert [warning for warning in session.run.warnings if "no such pool" in warning] == [
        "track_kv: RuntimeError: no such pool"
    ]


def test_forms_of_an_answer():
    full = Size("full", -1, None, None, None, 5, None, None)
    assert sizes_of({"full": 5}) == sizes_of({"full": {"logical_bytes": 5}}) == [full]
    assert sizes_of([{"layer_kind": "full", "logical_bytes": 5}]) == [full]
    assert sizes_of({"full": {"storage_bytes": 9, "tokens": 3, "device": 1, "layers": 2, "sequences": 4}}) == [
        Size("full", 1, 2, 4, 3, None, None, 9)
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "a mapping or a list of mappings, not NoneType"),
        ("full", "a mapping or a list of mappings, not str"),
        ({"full": -1}, "logical_bytes of 'full' is a whole number from 0, not -1"),
        ({"full": 1.5}, "not 1.5"),
        ({"full": True}, "not True"),
        ({"full": {"logical_byte": 1}}, "did you mean 'logical_bytes'"),
        ({"full": {"tokens": 1}}, "'full' has no size"),
        ({"full": {"logical_bytes": 1, "device": "cuda:0"}}, "index of a GPU"),
        ({3: 1}, "layer_kind is text"),
        ([5], "not int"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(answer, words):
    with pytest.raises(OptionError, match=words):
        sizes_of(answer)


def test_it_takes_a_function():
    with pytest.raises(OptionError, match="a function that returns sizes, not dict"):
        profkit.track_kv({"full": 1})
