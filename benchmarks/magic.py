"""What the magic costs the cell: against bare torch.profiler, and `--no-trace` against nothing.

Arms alternate in one process.

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

CELL = "model.generate(**inputs, max_new_tokens=32, do_sample=False);"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def bare(model, inputs) -> float:
    synchronize()
    began = time.perf_counter()
    model.generate(**inputs, max_new_tokens=32, do_sample=False)
    synchronize()
    return time.perf_counter() - began


def torch_profiler(model, inputs) -> float:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities):
        return bare(model, inputs)


def magic(shell, options: str) -> tuple[float, float]:
    """(cell time, from the cell's end to the summary shown), s."""
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        result = shell.run_cell(f"%%llmprofile --no-save {options}\n{CELL}")
    total = time.perf_counter() - began
    result.raise_error()
    run = profkit.last
    cell = run.meta.wall_ns / 1e9
    return cell, total - cell


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    model, inputs = model_and_inputs()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "profkit")
    shell.push({"model": model, "inputs": inputs})
    for options in ("", "--no-trace"):
        magic(shell, options)
    torch_profiler(model, inputs)

    times: dict[str, list[float]] = {name: [] for name in ("bare", "torch.profiler", "magic", "no-trace")}
    around: list[float] = []
    for _ in range(rounds):
        times["bare"].append(bare(model, inputs))
        cell, rest = magic(shell, "--no-trace")
        times["no-trace"].append(cell)
        times["torch.profiler"].append(torch_profiler(model, inputs))
        cell, rest = magic(shell, "")
        times["magic"].append(cell)
        around.append(rest)
    rows = [
        {"what": "%%llmprofile / torch.profiler", **ratio(times["magic"], times["torch.profiler"]), "goal": "<= 1.03"},
        {"what": "%%llmprofile --no-trace / bare", **ratio(times["no-trace"], times["bare"]), "goal": "<= 1.01"},
        {"what": "%%llmprofile / bare", **ratio(times["magic"], times["bare"]), "goal": ""},
        {"what": "start + stop + summary, s", "median": round(statistics.median(around), 2), "goal": ""},
    ]
    share = profkit.last.summary().profiler_share
    rows.append({"what": "cost that the last summary estimates", "median": round(share, 3)})
    rows += [{"what": f"{name}, s", "median": round(statistics.median(t), 3)} for name, t in times.items()]
    report("magic", rows)


def ratio(a: list[float], b: list[float]) -> dict:
    """Median of the paired ratios, and the ratio of the fastest: what others do to the host leaves that alone."""
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    return {
        "median": round(statistics.median(ratios), 3),
        "of the fastest": round(min(a) / min(b), 3),
        "least": round(ratios[0], 3),
        "most": round(ratios[-1], 3),
    }


if __name__ == "__main__":
    tempfile.tempdir = tempfile.mkdtemp()
    main()
