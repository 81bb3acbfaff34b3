"""What this GPU can do, measured anew, beside its datasheet, and how long that took.

python benchmarks/ceilings.py
"""

from __future__ import annotations

import sys
import time

from common import report

from profkit.hardware import measure
from profkit.hardware.ceilings import METRICS, Ceiling, datasheet

UNITS = {"bytes/s": (1e9, "GB/s"), "FLOP/s": (1e12, "TFLOP/s"), "ns": (1e3, "µs")}


def figure(ceiling: Ceiling | None) -> str:
    if ceiling is None:
        return ""
    factor, unit = UNITS[ceiling.unit]
    return f"{ceiling.value / factor:.4g} {unit}"


def main() -> None:
    began = time.perf_counter()
    found = measure(refresh=True)
    took = time.perf_counter() - began
    if not found.gpu:
        sys.exit(f"nothing to measure: {next(iter(found.not_measured.values()))}")
    sheet = datasheet(found.gpu)
    rows = []
    for name, label in METRICS.items():
        ceiling = getattr(found, name)
        rows.append(
            {
                "what": label,
                "measured": figure(ceiling) if ceiling and ceiling.measured else found.not_measured.get(name, ""),
                "spread": f"{ceiling.spread:.1%}" if ceiling and ceiling.spread is not None else "",
                "at": ceiling.at if ceiling else "",
                "SM clock MHz": ceiling.sm_clock_mhz if ceiling else "",
                "datasheet": figure(getattr(sheet, name)) if sheet else "",
            }
        )
    began = time.perf_counter()
    measure()
    again = time.perf_counter() - began
    rows.append({"what": "time it took", "measured": f"{took:.2f} s", "at": f"kept: {1e3 * again:.1f} ms"})
    report("ceilings", rows)
    for warning in found.warnings:
        print(f"! {warning}")


if __name__ == "__main__":
    main()
