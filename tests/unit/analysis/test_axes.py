"""Axes, objectives and durations: what is read back is what was written, and what cannot be is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from profkit.analysis.axes import axes_of, label, parse_axis, parse_duration, points_of, slo_of
from profkit.errors import OptionError

names = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True).filter(str.isidentifier)
numbers = st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6, allow_nan=False)


@given(names, st.lists(numbers, min_size=1, max_size=8))
def test_numbers_on_a_line_are_read_back(name, values):
    assert parse_axis(f"{name}={','.join(map(str, values))}") == (name, values)


@given(names, st.lists(st.from_regex(r"[a-z][\w.-]{0,8}", fullmatch=True), min_size=1, max_size=5))
def test_words_on_a_line_are_read_back(name, values):
    assert parse_axis(f"{name}={','.join(values)}") == (name, values)


def test_truth_values_and_quoted_words():
    assert parse_axis("compiled=True,False") == ("compiled", [True, False])
    assert parse_axis("mode='1',\"2\"") == ("mode", ["1", "2"])


@pytest.mark.parametrize("word", ["batch=", "batch=1,,2", "batch=,1", "batch=1,"])
def test_an_empty_value_is_refused(word):
    with pytest.raises(OptionError, match="axis 'batch' has an empty value"):
        parse_axis(word)


@pytest.mark.parametrize("word", ["batch", "=1", "2x=1", "a b=1", "--batch=1"])
def test_what_is_no_axis_is_refused(word):
    with pytest.raises(OptionError, match="is no axis: write name=value,value"):
        parse_axis(word)


def test_axes_keep_values_by_label():
    found = axes_of({"batch": (1, 2), "dtype": [torch.float16, torch.bfloat16], "n": np.array([3, 4])})
    assert found == {"batch": {1: 1, 2: 2}, "dtype": {"float16": torch.float16, "bfloat16": torch.bfloat16},
                     "n": {3: 3, 4: 4}}  # fmt: skip
    assert [type(key) for key in found["n"]] == [int, int]


def test_a_dict_names_values_that_have_no_name():
    one, other = object(), object()
    assert axes_of({"model": {"a": one, "b": other}}) == {"model": {"a": one, "b": other}}


def test_values_of_several_kinds_become_words_and_numbers_stay_numbers():
    assert list(axes_of({"x": [1, "all"]})["x"]) == ["1", "all"]
    assert list(axes_of({"x": [1, 0.5]})["x"]) == [1.0, 0.5]
    assert list(axes_of({"x": [True, 2]})["x"]) == ["True", "2"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "a sweep needs an axis"),
        ({"batch": []}, "axis 'batch' has no value"),
        ({"batch": [1, 2, 1]}, "axis 'batch' has 1 twice"),
        ({"batch": [1, 1.0]}, "axis 'batch' has 1.0 twice"),
        ({"batch": 4}, r"axis 'batch' is a list of values, such as batch=\[4\]"),
        ({"batch": "1,2"}, "axis 'batch' is a list of values"),
        ({"phase": [1]}, "axis 'phase' has the name of a column"),
        ({"status": [1]}, "axis 'status' has the name of a column"),
        ({"x": [float("nan")]}, "nan is no value of an axis"),
        ({"x": [2**70]}, "is too large"),
        ({"model": [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]}, "where two values only read the same"),
    ],
)
def test_axes_that_cannot_be_are_refused(axes, message):
    with pytest.raises(OptionError, match=message):
        axes_of(axes)


def test_functions_are_named():
    assert label(test_functions_are_named) == "test_functions_are_named"


@given(
    st.integers(1, 10**6), st.sampled_from([("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9), ("min", 6 * 10**10)])
)
def test_durations(value, unit):
    assert parse_duration(f"{value}{unit[0]}") == value * unit[1]
    assert parse_duration(f" {value} {unit[0]} ") == value * unit[1]


@pytest.mark.parametrize("text", ["30", "ms", "-3ms", "0s", "1e3ms", "3 fortnights", "", "3m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(OptionError, match="is no duration"):
        parse_duration(text)


def test_objectives():
    assert slo_of("tpot=30ms, ttft=.5s") == {"tpot": 30_000_000, "ttft": 500_000_000}
    assert slo_of({"tpot": "30ms", "e2e": 5}) == {"tpot": 30_000_000, "e2e": 5}
    assert slo_of(None) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tpop=30ms", "no objective 'tpop'; did you mean 'tpot'"),
        ("tpot", "'tpot' is not of the form tpot=30ms"),
        ("tpot=30", "'30' is no duration"),
        ("tpot=1ms,tpot=2ms", "given twice"),
        ({"tpot": 0}, "whole ns above 0, not 0"),
        ({"tpot": 0.03}, "whole ns above 0, not 0.03"),
        ({"tpot": True}, "whole ns above 0, not True"),
    ],
)
def test_objectives_that_cannot_be_are_refused(given, message):
    with pytest.raises(OptionError, match=message):
        slo_of(given)


def test_points_are_singled_out():
    axes = axes_of({"batch": [1, 32], "mode": ["eager", "graph"], "mixed": [1, "all"]})
    assert points_of("batch=32,mode=graph", axes) == {"batch": 32, "mode": "graph"}
    assert points_of({"mixed": 1}, axes) == {"mixed": "1"}
    assert points_of(None, axes) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bach=32", "no axis 'bach' to trace at; did you mean 'batch'"),
        ("batch=33", "axis 'batch' has no value '33'; it has 1, 32"),
        ("batch", "'batch' is not of the form batch=32"),
    ],
)
def test_points_that_are_not_there_are_refused(given, message):
    with pytest.raises(OptionError, match=message):
        points_of(given, axes_of({"batch": [1, 32]}))
