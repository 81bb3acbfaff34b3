"""Records are saved beside the notebook; where they cannot be, the profile is shown all the same."""

import contextlib
import os
import shutil
import subprocess

import pytest

QUIET = "%%llmprofile --no-widget"


def shown(reply):
    """The text of the one summary, on one line."""
    assert reply.status == "ok", reply.tracebacks
    (summary,) = reply.summaries
    return " ".join(summary["text/plain"].split())


def test_record_lies_beside_the_notebook(kernel):
    text = shown(kernel.run(f"{QUIET} --name saved\nimport torch\ntorch.ones(3).cumsum(0);"))
    assert (kernel.folder / "profkit-runs" / "saved.profkit").is_file()
    assert "profkit-runs/saved.profkit" in text
    kernel.setup("import profkit\nagain = profkit.load('profkit-runs/saved')")
    assert kernel.value("[again.name, again.events.equals(saved.events)]") == ["saved", True]


def test_link_in_the_summary_leads_to_the_record(kernel):
    (summary,) = kernel.run(f"{QUIET} --name linked\n1;").summaries
    assert 'href="profkit-runs/linked.profkit"' in summary["text/html"]


def test_unnamed_record_has_the_number_of_its_cell(kernel):
    count = kernel.run(f"{QUIET}\n1;").count
    assert (kernel.folder / "profkit-runs" / f"cell-{count}.profkit").is_file()


def test_same_name_again_replaces_the_record(kernel):
    kernel.setup(f"{QUIET} --name replaced\n1;")
    kernel.setup(f"{QUIET} --name replaced\nx = 'second';")
    kernel.setup("import profkit\nagain = profkit.load('profkit-runs/replaced')")
    assert kernel.value("again.meta.source") == "x = 'second';"
    assert sorted(kernel.folder.glob("profkit-runs/.*")) == []


def test_no_save_writes_nothing(kernel):
    reply = kernel.run(f"{QUIET} --no-save --name unsaved\n1;")
    assert "profkit-runs/unsaved" not in shown(reply)
    assert not (kernel.folder / "profkit-runs" / "unsaved.profkit").exists()


def usable(kernel, name):
    """Whether the Run still works, and can be saved elsewhere."""
    kernel.setup(f"path = {name}.save('elsewhere/{name}')")
    return kernel.value(f"[str(path), {name} is __import__('profkit').last, {name}.summary().wall_ns > 0]") == [
        f"elsewhere/{name}.profkit",
        True,
        True,
    ]


def test_folder_that_cannot_be_made_is_said(kernel):
    kernel.setup("import os\nos.rename('profkit-runs', 'kept')\nopen('profkit-runs', 'w').close()")
    text = shown(kernel.run(f"{QUIET} --name homeless\n1;"))
    kernel.setup("os.remove('profkit-runs')\nos.rename('kept', 'profkit-runs')")
    assert "cannot save the record to profkit-runs/homeless.profkit: File exists" in text
    assert "run.save(path)" in text
    assert usable(kernel, "homeless")


def test_read_only_folder_is_said(kernel):
    kernel.setup("import os\nos.makedirs('profkit-runs', exist_ok=True)\nos.chmod('profkit-runs', 0o555)")
    # Root may write everywhere, so where the tests run as root the cell becomes nobody.
    nobody = "os.seteuid(65534)" if os.geteuid() == 0 else ""
    reply = kernel.run(f"{QUIET} --name barred\n{nobody}")
    kernel.setup("os.seteuid(os.getuid())\nos.chmod('profkit-runs', 0o755)")
    assert "cannot save the record to profkit-runs/barred.profkit: Permission denied" in shown(reply)
    assert usable(kernel, "barred")


@pytest.fixture
def small_disk(kernel):
    """A disk of 16 KiB, full, where records are saved."""
    folder = kernel.folder / "profkit-runs"
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    with open(folder / "filler", "wb") as filler, contextlib.suppress(OSError):
        filler.write(bytes(2**16))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_full_disk_is_said(kernel):
    text = shown(kernel.run(f"{QUIET} --name flooded\nimport torch\ntorch.ones(3).cumsum(0);"))
    assert "cannot save the record to profkit-runs/flooded.profkit: No space left on device" in text
    assert "Free some space or choose another folder, then call run.save(path)" in text
    assert usable(kernel, "flooded")


def test_write_that_fails_halfway_leaves_the_older_record(kernel):
    kernel.setup(f"{QUIET} --name full\nx = 'older';")
    older = (kernel.folder / "profkit-runs" / "full.profkit").read_bytes()
    kernel.setup(
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "def limit(size):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))"
    )
    reply = kernel.run(f"{QUIET} --name full\nimport torch\ntorch.ones(3).cumsum(0)\nlimit(1000)")
    kernel.setup("limit(limits[0])")
    text = shown(reply)
    assert "cannot save the record to profkit-runs/full.profkit: File too large" in text
    assert "Free some space or choose another folder, then call run.save(path)" in text
    assert (kernel.folder / "profkit-runs" / "full.profkit").read_bytes() == older
    assert sorted(kernel.folder.glob("profkit-runs/.*")) == []
    assert usable(kernel, "full")
    assert "cannot save" in " ".join(kernel.value("full.warnings"))
