"""The roofline's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profkit.analysis.roofline import RooflinePoint, roofline
from profkit.hardware.ceilings import Ceiling

BANDWIDTH = Ceiling(4e12, "bytes/s", "measured", measured=True)
RATE = Ceiling(800e12, "FLOP/s", "measured", measured=True)


def test_memory_is_the_roof_up_to_the_ridge_and_arithmetic_from_there():
    roof = roofline([], BANDWIDTH, RATE)
    assert roof.ridge == 200
    assert roof.roof(1) == 4e12
    assert roof.roof(200) == roof.roof(2000) == 800e12


def test_a_point_and_its_share_of_the_roof():
    # 16 GB in 8 ms are 2 TB/s, half of the bandwidth; one FLOP a byte.
    point = RooflinePoint("batch 1", "decode", 16e9, 16e9, 8e6)
    assert point.intensity == 1
    assert point.achieved == pytest.approx(2e12)
    assert roofline([point], BANDWIDTH, RATE).share(point) == pytest.approx(0.5)


def test_work_without_arithmetic_traffic_or_time_has_no_place():
    points = [RooflinePoint("", "", *numbers) for numbers in ((0, 1, 1), (1, 0, 1), (1, 1, 0))]
    assert roofline(points, BANDWIDTH, RATE).points == ()


@given(st.floats(1e6, 1e16), st.floats(1e6, 1e13))
def test_a_point_at_its_floor_is_on_the_roof(flops, moved):
    ns = max(flops / RATE.value, moved / BANDWIDTH.value) * 1e9
    point = RooflinePoint("", "", flops, moved, ns)
    assert roofline([point], BANDWIDTH, RATE).share(point) == pytest.approx(1)
