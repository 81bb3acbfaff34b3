"""The dozen numbers of a profile: each from the analysis that owns it, absent where it was not measured."""

import json

import pytest
from unit import records
from unit.analysis.trace import call, kernel, operator, record, step

from profkit.analysis.summary import TOP, summarize
from profkit.record import Meta, Record

MS = 1_000_000


def test_a_profile_of_a_gpu_in_its_numbers():
    summary = summarize(records.gpu_record(unprofiled_wall_ns=[70 * MS, 90 * MS, 80 * MS]))
    assert summary.gpu == "NVIDIA H200"
    assert (summary.wall_ns, summary.unprofiled_wall_ns) == (100 * MS, 80 * MS)
    assert (summary.ttft_ns, summary.tpot_ns) == (30 * MS, 20 * MS)
    assert (summary.steps, summary.prompt_tokens, summary.output_tokens) == (4, 64, 4)
    assert summary.tokens_per_s == 40
    assert (summary.gpu_busy_ns, summary.gpu_busy_share) == (38 * MS, 0.38)
    assert (summary.kernel_count, summary.launches_per_token) == (8, 2)
    assert (summary.profiler_share, summary.profiler_measured) == (pytest.approx(0.2), True)
    assert summary.peak_memory_bytes == 3_000_000_000
    assert (summary.energy_j, summary.energy_error_j, summary.joules_per_token) == (8.0, 0.4, 2.0)
    assert summary.mean_power_w == 80
    assert summary.where == "gpu"
    assert [(kind.name, kind.share) for kind in summary.kinds] == [
        ("matmul", pytest.approx(27 / 38)),
        ("elementwise", pytest.approx(6 / 38)),
        ("attention", pytest.approx(5 / 38)),
    ]


def test_passes_that_differ_more_than_the_profile_measure_nothing():
    summary = summarize(records.gpu_record(unprofiled_wall_ns=[50 * MS, 120 * MS], profiler_added_ns=7 * MS))
    assert (summary.profiler_measured, summary.unprofiled_range_ns) == (False, (50 * MS, 120 * MS))
    assert summary.profiler_share == pytest.approx(7 * MS / summary.idle.window_ns, rel=0.2)


def test_the_profilers_share_is_estimated_where_it_was_not_measured():
    summary = summarize(records.gpu_record())
    assert (summary.profiler_share, summary.profiler_measured) == (pytest.approx(0.12), False)


def test_an_estimate_above_the_whole_is_the_whole():
    assert summarize(records.gpu_record(profiler_added_ns=900 * MS)).profiler_share == 1.0


def test_what_was_not_measured_is_none_and_has_its_reason():
    summary = summarize(records.cpu_record())
    absent = (
        summary.gpu,
        summary.gpu_busy_ns,
        summary.gpu_busy_share,
        summary.kernel_count,
        summary.launches_per_token,
        summary.peak_memory_bytes,
        summary.energy_j,
        summary.joules_per_token,
        summary.mean_power_w,
        summary.unprofiled_wall_ns,
        summary.floor_ns,
    )
    assert absent == (None,) * len(absent)
    assert summary.not_measured["gpu_busy"] == summary.idle.reason == records.NO_GPU
    assert summary.where == "host"
    assert summary.top[0].name == "aten::addmm"
    assert (summary.output_tokens, summary.tokens_per_s) == (3, 60)


def test_a_trace_less_profile_keeps_its_steps_and_has_no_kernels():
    summary = summarize(records.untraced_record())
    assert (summary.tpot_ns, summary.kernel_count, summary.top) == (20 * MS, None, ())


def test_without_steps_tokens_are_none():
    summary = summarize(records.stepless_record())
    assert (summary.steps, summary.ttft_ns, summary.output_tokens, summary.tokens_per_s) == (None,) * 4
    assert summary.gpu_busy_ns == 38 * MS


def test_scored_prompts_say_why_there_are_no_new_tokens():
    summary = summarize(record(steps=[step(0, 9, "prefill", query_tokens=8, tokens_out=0)]))
    assert (summary.prompt_tokens, summary.output_tokens, summary.tokens_per_s) == (8, None, None)
    assert "generated no token" in summary.not_measured["output_tokens"]


def test_an_empty_record_has_a_summary():
    summary = summarize(Record(Meta(name="")))
    assert (summary.steps, summary.tokens_per_s, summary.gpu_busy_share, summary.profiler_share) == (None,) * 4


def test_launches_between_two_decode_steps_count_and_those_of_the_prefill_do_not():
    launches = [call(at, at + 1, at) for at in (2, 4, 22, 24, 32, 42, 52)]  # 32 lies between two steps
    steps = [
        step(0, 20, "prefill", query_tokens=8, host_duration=10),
        step(21, 30, host_duration=9),
        step(41, 50, host_duration=9),
    ]
    assert summarize(record(*launches, kernel(0, 5, 2), steps=steps)).launches_per_token == 2


def test_one_token_has_no_launches_per_token():
    steps = [step(0, 20, "prefill", query_tokens=8)]
    assert summarize(record(call(2, 3, 1), kernel(5, 6, 1), steps=steps)).launches_per_token is None


def test_only_the_longest_kernels_are_named():
    kernels = [kernel(at, at + 20 - at, name=f"kernel {at}") for at in range(TOP + 3)]
    summary = summarize(record(*kernels))
    assert [work.name for work in summary.top] == [f"kernel {at}" for at in range(TOP)]
    assert summary.kernel_count == TOP + 3


def test_gpus_of_one_name_are_counted():
    gpus = [{"name": name} for name in ("NVIDIA H200", "NVIDIA H200", "NVIDIA L4")]
    assert summarize(record(environment={"gpus": gpus})).gpu == "2 × NVIDIA H200, NVIDIA L4"


def test_the_highest_peak_of_all_gpus_is_shown():
    assert summarize(record(peak_memory_bytes={0: 5, 1: 9})).peak_memory_bytes == 9


def test_errors_and_warnings_come_along():
    summary = summarize(record(operator(0, 1), error="ValueError: no", warnings=["lost"]))
    assert (summary.error, summary.warnings) == ("ValueError: no", ("lost",))


@pytest.mark.parametrize("make", [records.gpu_record, records.cpu_record, records.empty_record])
def test_a_summary_is_plain_data_for_json(make):
    data = json.loads(json.dumps(summarize(make()).to_dict()))
    assert data["wall_ns"] == make().meta.wall_ns
