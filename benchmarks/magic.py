"""What the magic costs the cell: against bare torch.profiler, and `--no-trace` against nothing.

Arms alternate in one process. Wall time tells what a user waits; the CPU time of the thread that runs the cell
tells what an arm itself costs it, which others on the host disturb far less. From the cell's end to the summary
shown, torch's own stop of its profiler is measured apart.

    python benchmarks/magic.py [rounds]
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time

import torch
from common import model_and_inputs, report
from IPython.core.interactiveshell import InteractiveShell
from torch.profiler import ProfilerActivity, profile

import profkit
from profkit.capture.kineto import Kineto

CELL = "bare(model, inputs);"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def bare(model, inputs) -> tuple[float, float]:
    """(wall, CPU of this thread), s."""
    synchronize()
    began, cpu = time.perf_counter(), time.thread_time()
    model.generate(**inputs, max_new_tokens=32, do_sample=False)
    cpu = time.thread_time() - cpu
    synchronize()
    bare.last = time.perf_counter() - began, cpu
    bare.ended = time.perf_counter()
    return bare.last


def torch_profiler(model, inputs) -> tuple[float, float]:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities):
        return bare(model, inputs)


class TimedStop:
    """Kineto's stop, timed."""

    seconds = 0.0

    def __init__(self) -> None:
        stop = Kineto.stop

        def timed(kineto):
            began = time.perf_counter()
            try:
                return stop(kineto)
            finally:
                TimedStop.seconds = time.perf_counter() - began

        Kineto.stop = timed


def magic(shell, options: str) -> tuple[tuple[float, float], float]:
    """((wall, CPU) of the cell, from its end to the summary shown), s."""
    with contextlib.redirect_stdout(io.StringIO()):
        result = shell.run_cell(f"%%llmprofile --no-save {options}\n{CELL}")
    result.raise_error()
    return bare.last, time.perf_counter() - bare.ended


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    model, inputs = model_and_inputs()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "profkit")
    shell.push({"model": model, "inputs": inputs, "bare": bare})
    TimedStop()
    for options in ("", "--no-trace"):
        magic(shell, options)
    torch_profiler(model, inputs)

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bare", "torch.profiler", "magic", "no-trace")}
    after: list[float] = []
    stops: list[float] = []
    for _ in range(rounds):
        times["bare"].append(bare(model, inputs))
        times["no-trace"].append(magic(shell, "--no-trace")[0])
        times["torch.profiler"].append(torch_profiler(model, inputs))
        cell, rest = magic(shell, "")
        times["magic"].append(cell)
        after.append(rest)
        stops.append(TimedStop.seconds)
    pairs = (
        ("%%llmprofile / torch.profiler", "magic", "torch.profiler", "<= 1.03"),
        ("%%llmprofile --no-trace / bare", "no-trace", "bare", "<= 1.01"),
        ("%%llmprofile / bare", "magic", "bare", ""),
    )
    rows = [
        {"what": f"{what}, {of}", **ratio(times[a], times[b], at), "goal": goal}
        for what, a, b, goal in pairs
        for at, of in enumerate(("wall", "CPU of its thread"))
    ]
    rest = [whole - stop for whole, stop in zip(after, stops, strict=True)]
    rows.append({"what": "cell's end to summary shown, s", "median": round(statistics.median(after), 2)})
    rows.append({"what": "of it torch's stop, s", "median": round(statistics.median(stops), 2)})
    rows.append({"what": "the rest, s", "median": round(statistics.median(rest), 2), "goal": "<= 1.5"})
    share = profkit.last.summary().profiler_share
    rows.append({"what": "cost that the last summary estimates", "median": round(share, 3)})
    for name, measured in times.items():
        wall, cpu = (statistics.median(t[at] for t in measured) for at in (0, 1))
        rows.append({"what": f"{name}, s", "median": round(wall, 3), "CPU of its thread": round(cpu, 3)})
    report("magic", rows)


def ratio(a: list[tuple[float, float]], b: list[tuple[float, float]], at: int) -> dict:
    """Median of the paired ratios, and the ratio of the fastest: what others do to the host leaves that alone."""
    ratios = sorted(x[at] / y[at] for x, y in zip(a, b, strict=True))
    return {
        "median": round(statistics.median(ratios), 3),
        "of the fastest": round(min(x[at] for x in a) / min(x[at] for x in b), 3),
        "least": round(ratios[0], 3),
        "most": round(ratios[-1], 3),
    }


if __name__ == "__main__":
    tempfile.tempdir = tempfile.mkdtemp()
    main()
