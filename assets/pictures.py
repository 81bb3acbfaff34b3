"""The pictures of README, drawn from a record and two sweeps: python assets/pictures.py [OUTPUT]."""

from __future__ import annotations

import argparse
from pathlib import Path

from profkit.run import load
from profkit.sweeps import Sweep
from profkit.views import picture
from profkit.views.figures.base import rendered

ASSETS = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=ASSETS, help="folder for the pictures")
    options = parser.parse_args()
    run = load(ASSETS / "h200-llama8b.profkit")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "summary.png").write_bytes(picture.png(run.summary().content, dpi=180))
    eager, graph = (Sweep.load(ASSETS / f"h200-llama8b-{name}.profsweep") for name in ("eager", "graph"))
    (options.output / "sweep-latency.png").write_bytes(rendered(eager.overlay(graph), "png"))


if __name__ == "__main__":
    main()
