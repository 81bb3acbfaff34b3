"""IPython in a terminal: the same magic, the summary as text."""

import os
import subprocess
import sys

import pytest

TYPED = """\
%load_ext profkit
%%llmprofile --name typed
import torch
torch.ones(3).cumsum(0)
20 + 22


print('bound:', typed.name, 'last:', _)
doubled = %llmprofile --no-save 4 * 21
print('line:', doubled)
%%llmprofile --nmae x
print('must not run')


%%llmprofile --no-save
1 / 0


print('alive')
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """What was printed while `TYPED` was typed into IPython, and the folder of it."""
    folder = tmp_path_factory.mktemp("terminal")
    ran = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
        input=TYPED,
        cwd=folder,
        env={**os.environ, "IPYTHONDIR": str(folder / ".ipython")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=True,
    )
    return ran.stdout, folder


def test_summary_is_text(session):
    printed, _ = session
    assert printed.count("Wall time") == 3
    assert "aten::cumsum" in printed
    assert "<div" not in printed
    assert "ProfileView" not in printed


def test_value_is_shown_and_the_name_is_bound(session):
    printed, _ = session
    assert "Out[2]: 42" in printed
    assert "bound: typed last: 42" in printed
    assert "line: 84" in printed


def test_record_is_saved_in_the_folder(session):
    printed, folder = session
    assert "Record: profkit-runs/typed.profkit" in printed
    assert (folder / "profkit-runs" / "typed.profkit").is_file()


def test_errors_are_told_and_the_session_goes_on(session):
    printed, _ = session
    assert "did you mean '--name'?" in printed
    assert "must not run" not in printed
    assert "----> 2 1 / 0" in printed
    assert "The cell raised ZeroDivisionError: division by zero" in printed
    assert "alive" in printed
