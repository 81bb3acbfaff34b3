"""Floors: what they add up, which ceiling they stand on, and that they say so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.records import ENVIRONMENT, gpu_record

from profkit.analysis.floor import NoFloorError, OpWork, ceilings_of, decode_floor, step_floor
from profkit.hardware.ceilings import Ceiling, Ceilings

BANDWIDTH = Ceiling(4e12, "bytes/s", "measured on X, 2026-11-24", measured=True)
RATE = Ceiling(800e12, "FLOP/s", "X datasheet", measured=False)
amounts = st.floats(0, 1e16)
works = st.lists(st.builds(OpWork, st.sampled_from(["linear", "attention"]), amounts, amounts), min_size=1, max_size=8)


def record(**ceilings):
    gpu = {**ENVIRONMENT["gpus"][0], **ceilings}
    return gpu_record(decode_weight_bytes=16_000_000_000, decode_device=0, environment={"gpus": [gpu]})


def kept(value):
    source = "measured on NVIDIA H200, 2026-11-24"
    return Ceilings("NVIDIA H200", read=Ceiling(value, "bytes/s", source, measured=True)).to_dict()


def test_weights_at_the_datasheets_bandwidth():
    floor = decode_floor(record())
    assert floor.ns == round(16 / 4800 * 1e9)
    assert floor.source == "16.0 GB of weights at 4.80 TB/s (H200 SXM datasheet)"


def test_weights_at_the_bandwidth_that_was_measured_before():
    floor = decode_floor(record(ceilings=kept(4e12)))
    assert floor.ns == 4_000_000
    assert floor.source == "16.0 GB of weights at 4.00 TB/s (measured on NVIDIA H200, 2026-11-24)"


@pytest.mark.parametrize("ceilings", [None, {}, [], "fast", {"gpu": 5}, kept(0.0), kept(-1.0), kept(float("nan"))])
def test_ceilings_that_cannot_be_leave_the_datasheet(ceilings):
    assert decode_floor(record(ceilings=ceilings)) == decode_floor(record())


def test_a_gpu_that_is_not_in_the_table_has_no_floor():
    with pytest.raises(NoFloorError, match="not in the GPU table"):
        decode_floor(record(name="NVIDIA Nothing"))


def test_a_measured_gpu_need_not_be_in_the_table():
    assert decode_floor(record(name="NVIDIA Nothing", ceilings=kept(4e12))).ns == 4_000_000


def test_an_unknown_gpu_has_no_ceilings():
    assert ceilings_of({"name": "NVIDIA Nothing"}) is None
    assert ceilings_of({}) is None


def test_each_op_takes_the_longer_of_its_two_times():
    # 8 ms of memory against 1 ms of arithmetic; 1 ms against 2 ms.
    ops = [OpWork("attention", 0.8e12, 32e9), OpWork("linear", 1.6e12, 4e9)]
    floor = step_floor(ops, BANDWIDTH, RATE)
    assert floor.ns == 10_000_000
    assert (floor.memory_ns, floor.compute_ns, floor.overlapped_ns) == pytest.approx((9e6, 3e6, 9e6))
    assert floor.source == (
        "sum over attention, linear of max(bytes at 4.00 TB/s (measured on X, 2026-11-24), "
        "FLOPs at 800 TFLOP/s (X datasheet))"
    )


@given(works)
def test_a_floor_is_never_below_what_one_resource_needs_alone(ops):
    floor = step_floor(ops, BANDWIDTH, RATE)
    assert floor.ns >= floor.overlapped_ns
    assert floor.ns <= round(floor.memory_ns + floor.compute_ns) + 1


@given(works, st.floats(1.0, 10.0))
def test_a_faster_gpu_has_no_higher_floor(ops, times):
    faster = Ceiling(BANDWIDTH.value * times, "bytes/s", "", measured=False)
    assert step_floor(ops, faster, RATE).ns <= step_floor(ops, BANDWIDTH, RATE).ns
