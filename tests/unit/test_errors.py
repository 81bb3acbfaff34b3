"""What errors have in common, and the hint for a mistyped name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profkit.errors import OptionError, ProfilerBusyError, ProfkitError, RecordError, nearest


@pytest.mark.parametrize("error", [OptionError, ProfilerBusyError, RecordError])
def test_one_class_catches_all(error):
    assert issubclass(error, ProfkitError)


def test_a_mistyped_name_gets_the_nearest_known_one():
    assert nearest("telemtry", ["telemetry", "timeline", "kernels"]) == "; did you mean 'telemetry'?"


def test_a_name_like_no_other_gets_the_list():
    assert nearest("zzz", ["kernels", "a"]) == "; known are a, kernels"


def test_nothing_known_is_no_hint():
    assert nearest("zzz", []) == ""


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_known_name_is_its_own_nearest(names):
    assert nearest(names[0], names) == f"; did you mean {names[0]!r}?"
