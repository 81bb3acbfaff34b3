"""The pictures of README, drawn from a record: python assets/pictures.py RECORD [OUTPUT]."""

from __future__ import annotations

import argparse
from pathlib import Path

from profkit.run import load
from profkit.views import picture
from profkit.views.figures.base import rendered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, help="a .profkit file")
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).parent, help="folder for the pictures")
    options = parser.parse_args()
    run = load(options.record)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "summary.png").write_bytes(picture.png(run.summary().content, dpi=180))
    for kind in ("steps", "timeline"):
        (options.output / f"{kind}.png").write_bytes(rendered(run.figure(kind), "png"))


if __name__ == "__main__":
    main()
