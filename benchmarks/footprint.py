"""What profkit leaves behind: import time, bytes of a record, growth of a notebook, memory over 200 profiles.

python benchmarks/footprint.py [profiles]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch
from common import model_and_inputs, report

import profkit


def import_seconds() -> float:
    """Median of five fresh processes."""
    code = "import time; began = time.perf_counter(); import profkit; print(time.perf_counter() - began)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True) for _ in range(6)]
    return statistics.median(float(run.stdout) for run in runs[1:])


def record_bytes(model, inputs, folder: Path) -> tuple[int, int, float]:
    with profkit.profile("size", model=model) as session:
        model.generate(**inputs, max_new_tokens=32, do_sample=False)
    began = time.perf_counter()
    path = session.run.save(folder / "size")
    return len(session.run.record.events), path.stat().st_size, time.perf_counter() - began


SETUP = """%load_ext profkit
import gc, psutil, threading
from profkit.models import random_llama, random_prompt
model = random_llama("tiny")
inputs = random_prompt(model, 1, 64)
def state():
    gc.collect()
    print(psutil.Process().memory_info().rss, threading.active_count())"""
CELL = "%%llmprofile\nmodel.generate(**inputs, max_new_tokens=32, do_sample=False);"


def executed(folder: Path, *cells: str):
    """A notebook with these cells after SETUP, executed in a kernel."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (SETUP, *cells)])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def notebook_bytes(folder: Path) -> int:
    """Growth of a saved notebook by one profiled cell, widget state included."""
    return len(json.dumps(executed(folder, CELL, CELL))) - len(json.dumps(executed(folder, CELL)))


def kernel_growth(folder: Path, profiles: int) -> dict:
    """Growth of a kernel in which so many cells were profiled, their widgets shown."""
    cells = executed(folder, *[CELL] * 10, "state()", *[CELL] * profiles, "state()").cells
    before, after = ([int(n) for n in cell.outputs[0].text.split()] for cell in cells if cell.source == "state()")
    return {
        "what": f"RSS growth over {profiles} profiled cells, MB",
        "value": round((after[0] - before[0]) / 1e6, 1),
        "goal": "<= 50",
        "note": f"in a kernel, widgets shown; threads {after[1] - before[1]:+d}",
    }


def growth(model, inputs, profiles: int) -> dict:
    process = psutil.Process()

    def one() -> None:
        with profkit.profile("grow", model=model):
            model.generate(**inputs, max_new_tokens=2, do_sample=False)

    for _ in range(10):
        one()
    rss, threads = process.memory_info().rss, threading.active_count()
    for _ in range(profiles):
        one()
    hooks = len(model._forward_hooks) + len(model._forward_pre_hooks)
    return {
        "what": f"RSS growth over {profiles} profile() blocks, MB",
        "value": round((process.memory_info().rss - rss) / 1e6, 1),
        "goal": "<= 50",
        "note": f"threads {threading.active_count() - threads:+d}, hooks left {hooks}",
    }


def main() -> None:
    profiles = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    folder = Path(tempfile.mkdtemp())
    rows = [{"what": "import profkit, s", "value": round(import_seconds(), 3), "goal": "<= 0.3"}]
    model, inputs = model_and_inputs()
    with torch.inference_mode():
        events, size, seconds = record_bytes(model, inputs, folder)
        rows.append(
            {
                "what": "record on disk, MB",
                "value": round(size / 1e6, 2),
                "goal": "<= 4",
                "note": f"{events:,} events, saved in {seconds:.2f} s",
            }
        )
        rows.append(
            {
                "what": "notebook growth per profile, KB",
                "value": round(notebook_bytes(folder) / 1e3, 1),
                "goal": "<= 300",
            }
        )
        rows.append(growth(model, inputs, profiles))
    rows.append(kernel_growth(folder, profiles))
    report("footprint", rows)


if __name__ == "__main__":
    main()
