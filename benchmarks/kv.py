"""What reading the KV cache after each step costs, beside an eager decode step of the same model.

    python benchmarks/kv.py [context]

The goal is 1 % of the step. On a GPU it also checks that no reading waits for the device.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from common import model_and_inputs, report

from profkit.capture.clock import Clock
from profkit.capture.kvcache import KVRecorder

STEPS, READS = 40, 200
GOAL = 1.0  # % of a step


def caches(model, context: int):
    """Each kind of cache that this model can be given, by name."""
    from transformers import DynamicCache, StaticCache

    yield "dynamic", DynamicCache()
    yield "static", StaticCache(config=model.config, max_cache_len=context + STEPS + 2)


@torch.inference_mode()
def decode_step_us(model, inputs, cache) -> float:
    """Median time of an eager decode step, without a profile."""
    gpu = torch.cuda.is_available()
    model(inputs["input_ids"], past_key_values=cache)
    token = inputs["input_ids"][:, :1]
    times = []
    for _ in range(STEPS):
        if gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        model(token, past_key_values=cache)
        if gpu:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - began) * 1e6)
    return median(times)


def read_us(model, cache, length: int) -> float:
    """Median time of a reading. Where there is a GPU it is busy meanwhile: a wait for it would be seen."""
    recorder = KVRecorder(Clock())
    recorder.read(model, cache, length)  # finds the layers
    gpu = torch.cuda.is_available()
    big = torch.empty(8192, 8192, device="cuda", dtype=torch.bfloat16).normal_() if gpu else None
    times = []
    for _ in range(READS):
        if gpu and big is not None and torch.cuda.current_stream().query():
            for _ in range(20):
                big @ big
        if gpu:
            torch.cuda.set_sync_debug_mode("error")
        began = time.perf_counter()
        recorder.read(model, cache, length)
        times.append((time.perf_counter() - began) * 1e6)
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
    return median(times)


def main() -> None:
    context = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    model, inputs = model_and_inputs(context)
    rows = []
    for name, cache in caches(model, context):
        step = decode_step_us(model, inputs, cache)
        read = read_us(model, cache, context + STEPS)
        share = 100 * read / step
        rows.append(
            {
                "cache": name,
                "layers": model.config.num_hidden_layers,
                "context": context,
                "step, us": round(step),
                "reading, us": round(read, 1),
                "share, %": round(share, 2),
                "goal, %": f"<= {GOAL}",
            }
        )
    report("kv", rows)


if __name__ == "__main__":
    main()
