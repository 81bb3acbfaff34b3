"""What `import profkit` brings along, and which module may import which."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    *("torch", "transformers", "triton", "matplotlib", "ipywidgets", "anywidget", "IPython"),
    *("pandas", "pyarrow", "numpy", "pynvml"),
}


def imported(code):
    """Top-level packages that a fresh process has after this code."""
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_profkit_imports_nothing_heavy():
    assert imported("import profkit") & HEAVY == set()


def test_reading_a_record_needs_no_torch_and_no_notebook():
    found = imported("import profkit; profkit.load, profkit.Run")
    assert found & {"torch", "transformers", "triton", "matplotlib", "ipywidgets", "IPython", "pynvml"} == set()


@pytest.mark.parametrize("module", ["profkit.analysis.summary", "profkit.formats.archive", "profkit.record"])
def test_an_analysis_needs_no_torch(module):
    assert "torch" not in imported(f"import {module}")


def test_imports_run_downwards_only():
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
