"""What every benchmark does: name the machine, print a table, write JSON beside it."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import torch

RESULTS = Path(os.environ.get("PROFKIT_RESULTS", Path(__file__).parent / "results"))


def machine() -> str:
    """GPU or CPU, with the versions that matter."""
    from profkit.capture.environment import environment

    env = environment()
    gpu = ", ".join(g["name"] for g in env["gpus"])
    where = gpu or f"{env['cpu'] or platform.processor()}, {os.cpu_count()} cores"
    return f"{where}; torch {torch.__version__}, Python {platform.python_version()}"


def report(name: str, rows: list[dict]) -> None:
    """Print rows as a table and write them to results/NAME-gpu.json or NAME-cpu.json."""
    kind = "gpu" if torch.cuda.is_available() else "cpu"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[str(row.get(c, "")) for c in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    print(f"\n{name} on {machine()}")
    for line in (columns, ["-" * w for w in widths], *cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    sys.stdout.flush()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}-{kind}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def model_and_inputs(tokens: int = 512, batch: int = 1):
    """The Llama that fits here, with a prompt, its kernels loaded."""
    from profkit.models import random_llama, random_prompt

    model = random_llama()
    inputs = random_prompt(model, batch, tokens)
    model.generate(**inputs, max_new_tokens=4, do_sample=False)
    return model, inputs
