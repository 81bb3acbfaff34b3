"""The environment of a record: plain, complete, and silent about persons, hosts and secrets."""

import getpass
import json
import platform
import subprocess
import sys

import pytest

from profkit.capture.environment import environment


def test_it_is_plain_data_with_every_field():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found.keys() == {
        "python",
        "platform",
        "cpu",
        "cpu_cores",
        "packages",
        "cuda",
        "driver",
        "cuda_visible_devices",
        "gpus",
    }
    assert found["packages"].keys() == {"torch", "triton", "transformers", "numpy", "profkit"}
    assert found["packages"]["torch"]


def test_each_gpu_has_every_field():
    fields = {
        "index",
        "name",
        "memory_bytes",
        "compute_capability",
        "sms",
        "sm_clock_max_mhz",
        "memory_clock_max_mhz",
        "power_limit_w",
        "l2_bytes",
        "ceilings",
    }
    assert all(gpu.keys() == fields for gpu in environment()["gpus"])


def test_it_names_no_host_and_no_user(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "correct-horse")
    text = json.dumps(environment())
    assert "correct-horse" not in text
    assert f'"{getpass.getuser()}"' not in text
    if len(platform.node()) > 3:
        assert platform.node() not in text


@pytest.mark.parametrize(
    ("value", "kept"),
    [("0,1", "0,1"), ("", ""), ("-1", "-1"), ("GPU-8f2b1c", None), ("MIG-8f2b1c", None), (None, None)],
)
def test_visible_devices_are_kept_only_as_indices(monkeypatch, value, kept):
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert environment()["cuda_visible_devices"] == kept


def test_what_it_hands_out_is_the_callers_own():
    environment()["packages"]["torch"] = "changed"
    assert environment()["packages"]["torch"] != "changed"


def test_importing_the_package_loads_neither_torch_nor_nvml():
    code = "import sys, profkit, profkit.capture.telemetry, profkit.capture.environment; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pynvml"} & set(run.stdout.split())
