"""What does planning cost, and on a GPU, how close is the planned batch to the largest that can be allocated?

python benchmarks/kv_plan.py
"""

from __future__ import annotations

import statistics
import time

import torch
from common import report

import profkit
from profkit.models.allocate import CASES, LLAMA_8B, allocate, names_of_this_gpu


def median_ms(work, repeats: int = 15) -> float:
    times = []
    for at in range(repeats):
        began = time.perf_counter()
        work(at)
        times.append(1e3 * (time.perf_counter() - began))
    return round(statistics.median(times), 2)


def cost() -> list[dict]:
    """Milliseconds; the limit for a redraw of the sliders is 50."""
    began = time.perf_counter()
    plan = profkit.kv_plan(LLAMA_8B, gpu="H200", batch=32, context=8192)
    first = round(1e3 * (time.perf_counter() - began), 1)
    rows = [{"what": "first plan, transformers imported with it", "ms": first}]
    rows.append({"what": "plan from a dict", "ms": median_ms(lambda _: profkit.kv_plan(LLAMA_8B, gpu="H200"))})
    rows.append({"what": "the plan at another batch", "ms": median_ms(lambda at: plan.changed(batch=33 + at))})
    for name, config, _ in CASES[1:]:
        view = profkit.kv_plan(config, gpu="H200", batch=32, context=8192).widget()
        options = [value for _, value in view._context.options if value >= 1024]

        def move(at, view=view, options=options):
            view._context.value = options[at % len(options)]

        rows.append({"what": f"slider moved, {name}", "ms": median_ms(move)})
    return rows


def confirm() -> list[dict]:
    rows = []
    for name, config, context in CASES:
        for gpu in names_of_this_gpu():
            plan = profkit.kv_plan(config, gpu=gpu, context=context)
            began = time.perf_counter()
            found = allocate(plan)
            rows.append(
                {
                    "shape": name,
                    "gpu": gpu,
                    "context": context,
                    "weights GB": round(found.weights_bytes / 1e9, 2),
                    "sequence GB": round(plan.sequence_bytes / 1e9, 4),
                    "planned": found.planned,
                    "real": found.real,
                    "below real %": round(100 * (1 - found.planned / found.real), 2),
                    "s": round(time.perf_counter() - began, 1),
                }
            )
    return rows


if __name__ == "__main__":
    report("kv_plan-cost", cost())
    if torch.cuda.is_available():
        report("kv_plan-allocated", confirm())
    else:
        print("\nno GPU here: the planned batch was not allocated")
