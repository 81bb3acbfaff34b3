"""From the profiler's stop to a summary: profkit's path against `prof.key_averages()` of the same profile.

python benchmarks/columns.py [new_tokens]
"""

from __future__ import annotations

import gc
import sys
import time

import torch
from common import model_and_inputs, report
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile

from profkit.analysis.events import assemble
from profkit.analysis.summary import summarize
from profkit.capture.kineto_columns import columns
from profkit.record import STEPS, Meta, Record


def measure(model, inputs, tokens: int, shapes: bool) -> dict:
    gpu = torch.cuda.is_available()
    config = {"profile_all_threads": True}
    if not hasattr(torch._C._autograd._ProfilerResult, "trace_activities"):
        config["expose_kineto_event_metadata"] = gpu
    prof = profile(
        activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu,
        record_shapes=shapes,
        experimental_config=_ExperimentalConfig(**config),
    )
    prof.__enter__()
    begun = time.time_ns()
    model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    if gpu:
        torch.cuda.synchronize()
    wall = time.time_ns() - begun
    began = time.perf_counter()
    prof.__exit__(None, None, None)
    stop = time.perf_counter() - began

    ours = []
    for _ in range(3):
        gc.collect()
        began = time.perf_counter()
        raw = columns(prof.profiler.kineto_results, begun, shapes)
        read = time.perf_counter() - began
        events, kernels, ops, _ = assemble(raw, wall, STEPS.empty_table())
        meta = Meta(name="bench", wall_ns=wall, host_wall_ns=wall)
        if not gpu:
            meta.not_measured["gpu_busy"] = "no GPU"
        record = Record(meta, events=events, kernels=kernels, ops=ops)
        record.events.to_pandas()
        frames = time.perf_counter() - began - read
        summarize(record)
        ours.append((time.perf_counter() - began, read, frames))
        del raw, events, kernels, ops, record
    ours.sort()
    total, read, frames = ours[1]

    began = time.perf_counter()
    prof.key_averages()
    theirs = time.perf_counter() - began
    return {
        "shapes": shapes,
        "rows": len(prof.profiler.kineto_results.events()),
        "profiler stop s": round(stop, 2),
        "read columns s": round(read, 3),
        "tables s": round(frames, 3),
        "summary s": round(total - read - frames, 3),
        "profkit s": round(total, 3),
        "key_averages s": round(theirs, 2),
        "ratio": round(theirs / total, 1),
    }


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else (32 if torch.cuda.is_available() else 100)
    model, inputs = model_and_inputs()
    with torch.inference_mode():
        measure(model, inputs, 2, False)  # the first session of a process loads CUPTI
        report("columns", [measure(model, inputs, tokens, shapes) for shapes in (False, True)])


if __name__ == "__main__":
    main()
