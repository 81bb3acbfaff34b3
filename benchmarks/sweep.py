"""What the sweep harness costs: of the runs that it measures, and of a sweep as a whole.

The model's runs are timed bare and inside a sweep, in turns; CPU time beside wall time, for what others do to a shared
host leaves that alone. The harness's own time is that of a sweep of 40 points less the time inside the cell.

    python benchmarks/sweep.py [rounds]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import model_and_inputs, report

import profkit
from profkit.capture.clock import synchronize

POINTS = 40
RUNS = 6
ROUGH = {"precision": 10.0, "energy": False, "progress": False}
"""Ends a point after the five runs that are the least."""


class Cell:
    """Generates; keeps the wall and CPU time of each run, s."""

    def __init__(self) -> None:
        self.model, self.inputs = model_and_inputs(tokens=64)
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def __call__(self, x: int) -> None:
        """One run."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.model.generate(**self.inputs, max_new_tokens=16, do_sample=False)
        synchronize()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)

    def take(self) -> tuple[float, float]:
        """Medians of the last runs."""
        found = statistics.median(self.wall[-RUNS:]), statistics.median(self.cpu[-RUNS:])
        self.wall, self.cpu = [], []
        return found


def bare(cell: Cell) -> tuple[float, float]:
    for _ in range(RUNS + 2):
        cell(0)
    return cell.take()


def swept(cell: Cell) -> tuple[float, float]:
    profkit.sweep(cell, x=[0], model=cell.model, **ROUGH)
    return cell.take()


def ratio(what: str, pairs: list[tuple[float, float]], goal: str = "") -> dict:
    ratios = sorted(inside / alone for alone, inside in pairs)
    return {
        "what": what,
        "median": round(statistics.median(ratios), 4),
        "of the fastest": round(min(inside for _, inside in pairs) / min(alone for alone, _ in pairs), 4),
        "least": round(ratios[0], 4),
        "most": round(ratios[-1], 4),
        "goal": goal,
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    cell = Cell()
    swept(cell)
    walls, cpus = [], []
    for at in range(rounds):  # in turns: whichever comes first may find the machine in another state
        if at % 2:
            alone, inside = bare(cell), swept(cell)
        else:
            inside, alone = swept(cell), bare(cell)
        walls.append((alone[0], inside[0]))
        cpus.append((alone[1], inside[1]))

    wall, cpu = time.perf_counter(), time.process_time()
    made = profkit.sweep(cell, x=range(POINTS), model=cell.model, **ROUGH)
    wall = time.perf_counter() - wall - made.meta.cell_ns / 1e9
    cpu = time.process_time() - cpu - sum(cell.cpu)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        path = made.save(Path(folder, "curves"))
        save, size = time.perf_counter() - began, path.stat().st_size
    rows = [
        ratio("a run in a sweep / by itself, wall", walls, "<= 1.005"),
        ratio("the same, CPU", cpus),
        {"what": f"own time of a sweep of {POINTS} points, s", "median": round(wall, 3), "goal": "<= 1"},
        {"what": "the same, CPU", "median": round(cpu, 3)},
        {"what": f"inside the cell, {len(cell.wall)} runs, s", "median": round(made.meta.cell_ns / 1e9, 2)},
        {"what": "save, s", "median": round(save, 3)},
        {"what": "file, kB", "median": round(size / 1e3, 1)},
    ]
    report("sweep", rows)


if __name__ == "__main__":
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # threads that wait for each other on a shared machine measure the others
    main()
