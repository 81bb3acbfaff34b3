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
    """Median of five fresh processes, the interpreter's own start taken off."""

    def start(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    start("import profkit")
    return statistics.median(start("import profkit") - start("pass") for _ in range(5))


def record_bytes(model, inputs, folder: Path) -> tuple[int, int, float]:
    with profkit.profile("size", model=model) as session:
        model.generate(**inputs, max_new_tokens=32, do_sample=False)
    began = time.perf_counter()
    path = session.run.save(folder / "size")
    return len(session.run.record.events), path.stat().st_size, time.perf_counter() - began


def notebook_bytes(folder: Path) -> int:
    """Growth of a saved notebook by one profiled cell, widget state included."""
    import nbformat
    from nbclient import NotebookClient

    setup = "%load_ext profkit\nfrom profkit.models import random_llama, random_prompt\nmodel = random_llama('tiny')\n"
    setup += "inputs = random_prompt(model, 1, 64)"
    cell = "%%llmprofile\nmodel.generate(**inputs, max_new_tokens=32, do_sample=False);"

    def size(*cells: str) -> int:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (setup, *cells)])
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
        return len(json.dumps(notebook))

    one, two = size(cell), size(cell, cell)
    return two - one


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
        "what": f"RSS growth over {profiles} profiles, MB",
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
    report("footprint", rows)


if __name__ == "__main__":
    main()
