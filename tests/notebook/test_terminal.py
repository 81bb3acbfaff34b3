"""IPython in a terminal: the same magic, the summary as text."""

import subprocess
import sys

import pytest


@pytest.fixture
def ipython(tmp_path):
    def run(code, *options):
        command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", *options]
        return subprocess.run(
            [*command, *(["-c", code] if not options else [])],
            input=code if options else None,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "IPYTHONDIR": str(tmp_path / ".ipython"), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_profile_is_shown_as_text(ipython, tmp_path):
    ran = ipython(
        "get_ipython().run_line_magic('load_ext', 'profkit')\n"
        "result = get_ipython().run_cell('%%llmprofile --name shown\\nimport torch\\n"
        "torch.ones(3).cumsum(0)\\n6 * 7')\n"
        "assert result.result == 42, result\n"
        "print('bound:', shown.name)\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert "42" in ran.stdout
    assert "bound: shown" in ran.stdout
    assert "Wall time" in ran.stdout
    assert "aten::cumsum" in ran.stdout
    assert "Record: profkit-runs/shown.profkit" in ran.stdout
    assert "<div" not in ran.stdout
    assert "ProfileView" not in ran.stdout
    assert (tmp_path / "profkit-runs" / "shown.profkit").is_file()


def test_cells_typed_line_by_line(ipython):
    ran = ipython(
        "%load_ext profkit\n%%llmprofile --no-save --name typed\na = 20\na + 22\n\n\nprint('bound:', typed.name)\n"
        "%llmprofile --no-save a * 2\n%%llmprofile --no-save --nmae x\n1\n\n\nprint('alive')\n",
        "--simple-prompt",
    )
    assert "Out[2]: 42" in ran.stdout
    assert "bound: typed" in ran.stdout
    assert ran.stdout.count("Wall time") == 2
    assert "40" in ran.stdout
    assert "did you mean '--name'?" in ran.stdout + ran.stderr
    assert "alive" in ran.stdout
