"""Everything that needs a GPU, in one go: tests, benchmarks, and the notebooks executed in place.

    python benchmarks/gpu.py        (or `make gpu`)

Results go to benchmarks/results, or to the folder that PROFKIT_RESULTS names.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEPS = {
    "ceilings": ["benchmarks/ceilings.py"],
    "tests": ["-m", "pytest", "-q", "tests/gpu"],
    "columns": ["benchmarks/columns.py"],
    "magic": ["benchmarks/magic.py"],
    "footprint": ["benchmarks/footprint.py"],
    "sweep": ["benchmarks/sweep.py"],
    "kv_plan": ["benchmarks/kv_plan.py"],
    "kv": ["benchmarks/kv.py"],
    "quickstart": ["-m", "jupyter", "execute", "--inplace", "notebooks/quickstart.ipynb"],
    "batch-latency": ["-m", "jupyter", "execute", "--inplace", "notebooks/batch-latency.ipynb"],
}


def main() -> int:
    wanted = sys.argv[1:] or list(STEPS)
    failed = []
    for name in wanted:
        began = time.perf_counter()
        code = subprocess.run([sys.executable, *STEPS[name]], cwd=ROOT, check=False).returncode
        print(
            f"== {name}: {'ok' if code == 0 else f'failed ({code})'} in {time.perf_counter() - began:.0f} s", flush=True
        )
        if code:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
