"""Policies for a cache that is too small: who keeps what, who computes twice, who is refused."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import profkit
from profkit.analysis.kv_pressure import POLICIES, Session, Turn, example_sessions, pressure, read_sessions
from profkit.errors import OptionError

ALL = tuple(POLICIES)


def chat(tenant="a", start=0.0, turns=3, tokens=100, pause=10.0):
    return Session(tenant, tuple(Turn(start if at == 0 else pause, tokens, 0) for at in range(turns)))


def row(found, policy, tenant="all"):
    table = found.table
    return table[(table["policy"] == policy) & (table["tenant"] == tenant)].iloc[0]


sessions = st.lists(
    st.builds(
        Session,
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.builds(Turn, st.floats(0, 50), st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=6).map(
            tuple
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(sessions, st.integers(20, 600), st.sampled_from([1, 16]), st.integers(1, 200))
def test_the_cache_is_never_fuller_than_it_is_large_and_the_books_balance(given_sessions, capacity, page, window):
    found = pressure(given_sessions, capacity, ALL, window=window, page=page)
    held = found.held.groupby(["policy", "time_s", "tenant"], sort=False)["tokens"].last().groupby(["policy", "time_s"])
    if len(found.held):
        assert (held.sum() <= capacity).all()
    for policy in ALL:
        total = row(found, policy)
        by_tenant = found.table[(found.table["policy"] == policy) & (found.table["tenant"] != "all")]
        for column in ("turns", "refused", "history_tokens", "recompute_tokens", "forgotten_tokens"):
            assert by_tenant[column].sum() == total[column]
        assert total["turns"] == sum(len(session.turns) for session in given_sessions)
        if total["history_tokens"]:
            hits = total["hit_share"] * total["history_tokens"]
            assert hits + total["recompute_tokens"] == pytest.approx(total["history_tokens"])
        else:
            assert total["hit_share"] is pd.NA
    assert row(found, "none")["recompute_tokens"] == 0


@settings(max_examples=50, deadline=None)
@given(sessions)
def test_with_room_for_all_nothing_is_computed_twice(given_sessions):
    capacity = sum(turn.prompt_tokens + turn.output_tokens for s in given_sessions for turn in s.turns)
    found = pressure(given_sessions, capacity, ["none", "lru", "sliding"], window=capacity)
    assert found.table["recompute_tokens"].sum() == found.table["refused"].sum() == 0
    assert found.table["waited_s"].sum() == 0


def test_history_is_all_tokens_of_the_turns_before():
    found = pressure([chat(turns=3, tokens=100)], 10_000, ["lru"])
    assert row(found, "lru")["history_tokens"] == 100 + 200
    assert row(found, "lru")["hit_share"] == 1


def test_the_least_recently_used_gives_way_newest_tokens_first():
    """Two sessions in turn, 100 tokens each time, in a cache of 300: by hand."""
    found = pressure([chat("a", 0, 3), chat("b", 5, 3)], 300, ["lru"])
    # a 100, b 100, a 200; b grows to 200 and takes 100 of a; a computes these again and ends; b is whole.
    assert row(found, "lru", "a")["recompute_tokens"] == 100
    assert row(found, "lru", "b")["recompute_tokens"] == 0
    at_15 = found.held[found.held["time_s"] == 15].set_index("tenant")["tokens"]
    assert at_15.to_dict() == {"a": 100, "b": 200}


def test_without_eviction_a_turn_waits_until_a_session_ends():
    first = Session("a", (Turn(0, 100, 0), Turn(30, 10, 0)))
    found = pressure([first, chat("b", 5, 2, tokens=80)], 200, ["none"])
    # b's second turn comes at 15 and would make 260; a ends at 30.
    assert row(found, "none", "b")["waited_s"] == pytest.approx(15)
    assert row(found, "none")["refused"] == 0


def test_without_eviction_sessions_that_wait_for_each_other_are_refused():
    found = pressure([chat("a", 0, 2, tokens=100), chat("b", 1, 2, tokens=100)], 250, ["none", "lru"])
    assert row(found, "none")["refused"] == 2
    assert row(found, "lru")["refused"] == 0


def test_a_turn_longer_than_the_cache_is_refused_and_its_session_gives_back_what_it_holds():
    found = pressure([chat("a", 0, 3, tokens=100), chat("b", 25, 2, tokens=100)], 250, ["none", "lru"])
    for policy in ("none", "lru"):
        assert row(found, policy, "a")["refused"] == 1
        assert row(found, policy, "b")["refused"] == 0
        assert row(found, policy, "b")["hit_share"] == 1


def test_a_window_forgets_what_it_does_not_compute_again():
    found = pressure([chat(turns=4, tokens=100)], 10_000, ["sliding"], window=150)
    assert row(found, "sliding")["history_tokens"] == 100 + 150 + 150
    assert row(found, "sliding")["forgotten_tokens"] == 0 + 50 + 150
    assert row(found, "sliding")["recompute_tokens"] == 0


def test_one_long_session_starves_the_others_and_a_partition_protects_them():
    found = profkit.kv_pressure(example_sessions(), 50_000)
    assert found.worst("lru") == "chat"
    lru, partition = row(found, "lru", "chat"), row(found, "partition", "chat")
    assert lru["hit_share"] < row(found, "lru", "agent")["hit_share"] - 0.2
    assert partition["hit_share"] > lru["hit_share"]
    assert partition["recompute_tokens"] < lru["recompute_tokens"]
    # It has a price, which the long session pays.
    assert row(found, "partition", "agent")["hit_share"] < row(found, "lru", "agent")["hit_share"]
    assert found.worst("partition") == "agent"


def test_shares_decide_who_pays():
    generous = profkit.kv_pressure(example_sessions(), 50_000, "partition", shares={"agent": 0.8, "chat": 0.2})
    strict = profkit.kv_pressure(example_sessions(), 50_000, "partition", shares={"agent": 0.2, "chat": 0.8})
    assert row(generous, "partition", "agent")["hit_share"] > row(strict, "partition", "agent")["hit_share"]
    assert row(generous, "partition", "chat")["hit_share"] < row(strict, "partition", "chat")["hit_share"]


def test_the_same_seed_gives_the_same_sessions():
    assert example_sessions(3) == example_sessions(3) != example_sessions(4)


def test_a_plan_says_how_many_tokens_fit():
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 128,
    }
    plan = profkit.kv_plan(config, gpu=100e6, overhead=0, context=1000)
    found = profkit.kv_pressure([chat()], plan, "lru")
    assert found.capacity == plan.room_bytes // 512
    with pytest.raises(OptionError, match="has no GPU"):
        profkit.kv_pressure([chat()], profkit.kv_plan(config), "lru")


def test_sessions_come_as_objects_dicts_or_a_table_of_turns():
    made = [Session("a", (Turn(2.0, 10, 5), Turn(3.0, 7, 1))), Session("b", (Turn(4.0, 1, 1),))]
    dicts = [
        {
            "tenant": "a",
            "arrival_s": 2.0,
            "turns": [(0.0, 10, 5), {"wait_s": 3.0, "prompt_tokens": 7, "output_tokens": 1}],
        },
        {"tenant": "b", "turns": [(4.0, 1, 1)]},
    ]
    table = pd.DataFrame(
        [(0, "a", 2.0, 10, 5), (1, "b", 4.0, 1, 1), (0, "a", 5.0, 7, 1)],
        columns=["session", "tenant", "time_s", "prompt_tokens", "output_tokens"],
    )
    assert read_sessions(made) == read_sessions(dicts) == read_sessions(table) == made


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"capacity": 0}, "capacity is a whole number of tokens from 1 on, not 0"),
        ({"policy": "fifo"}, "no policy 'fifo'"),
        ({"policy": "sliding"}, "policy 'sliding' needs window="),
        ({"policy": "sliding", "window": 0}, "window is a whole number"),
        ({"page": 0}, "page is a whole number"),
        ({"shares": {"b": 1.0}}, "shares name b; the tenants are a"),
        ({"shares": {"a": 1.5}}, "add up to at most 1"),
        ({"sessions": []}, "there are no sessions"),
        ({"sessions": 3}, "sessions are a list or a DataFrame of turns, not int"),
        ({"sessions": [{"tenant": "a"}]}, "a session is {tenant, arrival_s, turns"),
        ({"sessions": [Session("a", (Turn(-1.0, 1, 1),))]}, "a turn of 'a' cannot be"),
        ({"sessions": [Session("a", (Turn(0.0, -1, 1),))]}, "a turn of 'a' cannot be"),
        ({"sessions": pd.DataFrame({"session": [1]})}, "the table of turns lacks tenant, time_s"),
    ],
)
def test_nonsense_is_refused(wrong, says):
    options = {"sessions": [chat()], "capacity": 100, **wrong}
    with pytest.raises(OptionError, match=re.escape(says)):
        profkit.kv_pressure(options.pop("sessions"), options.pop("capacity"), options.pop("policy", None), **options)


def test_it_is_shown_as_text_page_and_figure():
    found = profkit.kv_pressure(example_sessions(), 50_000, window=8192)
    text, page = repr(found), found._repr_html_()
    for policy in POLICIES:
        assert policy in text
        assert policy in page
    assert "chat" in text
    assert found.figure()._repr_png_() == found.figure()._repr_png_()
