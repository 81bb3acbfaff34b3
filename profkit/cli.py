"""The command `profkit`: what the notebook does, without a notebook."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from profkit.errors import ProfkitError
from profkit.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where it could not be done."""
    parser = argparse.ArgumentParser(prog="profkit", description="Profiles of LLM inference, outside the notebook.")
    parser.add_argument("--version", action="version", version=f"profkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    report = commands.add_parser("report", help="a page that opens offline, and every figure, from a record")
    report.add_argument("run", type=Path, help="a .profkit file")
    report.add_argument("-o", "--output", type=Path, default=Path("report"), help="folder to write (default: report)")

    demo = commands.add_parser("demo", help="profile a random-weight Llama here, with the quickstart notebook")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder to write (default: demo)")

    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter gets a ?, not an error
    try:
        if options.command == "report":
            write_report(options.run, options.output)
        else:
            run_demo(options.output)
    except (ProfkitError, OSError) as error:
        print(f"profkit: {error}", file=sys.stderr)
        return 2
    return 0


def write_report(record: Path, output: Path) -> None:
    """The page, the figures and the summary of one record."""
    from profkit.run import load

    run = load(record)
    page = run.to_html(output / "report.html")  # a record's name is a stranger's text, not a path
    files = run.export(output)
    print(run.summary())
    print(f"\nwrote {page} and {len(files)} files beside it")


def run_demo(output: Path) -> None:
    """Execute the quickstart notebook in a kernel and write its report."""
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise ProfkitError("the demo needs a notebook kernel: pip install 'profkit[hf,notebooks]'") from error

    output.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(_quickstart(), as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": output}}).execute()
    nbformat.write(notebook, output / "quickstart.ipynb")
    print(f"wrote {output / 'quickstart.ipynb'}")
    write_report(output / "profkit-runs" / "baseline.profkit", output)


def _quickstart() -> Path:
    """The notebook, beside the package in a checkout and inside it in an installation."""
    package = Path(__file__).parent
    return next(
        path
        for path in (package.parent / "notebooks" / "quickstart.ipynb", package / "quickstart.ipynb")
        if path.exists()
    )


if __name__ == "__main__":
    sys.exit(main())
