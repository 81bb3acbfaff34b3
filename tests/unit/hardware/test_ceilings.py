"""Ceilings as data: which figure is shown, where it comes from, and what is kept between processes."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from profkit.errors import OptionError
from profkit.hardware import Ceiling, Ceilings, cache, measure
from profkit.hardware.ceilings import METRICS, datasheet, from_dict, with_datasheet

SOURCE = "measured on NVIDIA H200, 2026-11-24 20:00 UTC"
ENVIRONMENT = {"packages": {"torch": "2.11.0"}, "driver": "580.65", "cuda": "13.0"}
GPU = {"name": "NVIDIA H200", "memory_bytes": 150_000_000_000, "sms": 132, "power_limit_w": 700.0}


def measured(value, unit="bytes/s"):
    return Ceiling(value, unit, SOURCE, measured=True, spread=0.01, at="1024 MiB", sm_clock_mhz=1980.0)


def h200(**changes):
    return Ceilings("NVIDIA H200", copy=measured(4.2e12), created="2026-11-24T20:00:00+00:00", **changes)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PROFKIT_CACHE", str(tmp_path))
    return tmp_path


def test_the_datasheet_stands_in_for_what_was_not_measured_and_says_so():
    shown = with_datasheet(h200(not_measured={"bf16": "no room"}))
    assert shown.copy == measured(4.2e12)
    assert (shown.bf16.value, shown.bf16.measured, shown.bf16.source) == (989.5e12, False, "H200 SXM datasheet")
    assert shown.not_measured == {"bf16": "no room"}
    assert "https://" in shown.datasheet


def test_no_datasheet_knows_what_a_launch_takes():
    sheet = datasheet("NVIDIA H200")
    assert sheet.launch is None
    assert sheet.not_measured.keys() == {"launch", "graph_replay", "graph_kernel"}


def test_a_gpu_without_fp8_has_no_fp8_ceiling_and_a_reason():
    sheet = datasheet("NVIDIA A100-SXM4-80GB")
    assert sheet.fp8 is None
    assert "A100" in sheet.not_measured["fp8"]


def test_an_unknown_gpu_has_no_datasheet():
    assert datasheet("NVIDIA Nothing 9000") is None
    unknown = Ceilings("NVIDIA Nothing 9000", not_measured=dict.fromkeys(METRICS, "because"))
    assert with_datasheet(unknown) == unknown


def test_the_bandwidth_of_a_floor_is_the_greatest_that_was_measured():
    assert h200(read=measured(4.5e12)).bandwidth.value == 4.5e12
    assert h200(read=measured(4.0e12)).bandwidth.value == 4.2e12
    # The datasheet's 4.8 TB/s do not outbid a measurement.
    assert with_datasheet(h200()).bandwidth.value == 4.2e12
    assert Ceilings("").bandwidth is None


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("torch.bfloat16", "bf16"), ("float16", "fp16"), ("float8_e4m3fn", "fp8"), ("fp8", "fp8"), ("float32", None)],
)
def test_a_dtype_has_the_rate_of_its_tensor_cores(dtype, name):
    sheet = datasheet("NVIDIA H200")
    assert sheet.rate(dtype) == (getattr(sheet, name) if name else None)


def test_plain_data_and_back():
    ceilings = with_datasheet(h200(not_measured={"fp8": "why"}, warnings=("one",)))
    assert from_dict(ceilings.to_dict()) == ceilings


@pytest.mark.parametrize("plain", [[], {"gpu": 1}, {}, {"gpu": "x", "copy": {"value": "fast"}}])
def test_other_data_are_refused(plain):
    with pytest.raises(msgspec.ValidationError):
        from_dict(plain)


def test_without_a_gpu_nothing_is_measured_and_each_metric_says_why():
    code = (
        "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''\n"
        "from profkit.hardware import measure\n"
        "found = measure()\n"
        "print(found.gpu == '', found.bandwidth, len(found.not_measured), sorted(set(found.not_measured.values())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"True None {len(METRICS)} ['no GPU: ")


def test_a_device_that_is_no_gpu_is_refused_or_has_no_gpu_to_be_compared_with():
    import torch

    if torch.cuda.is_available():
        with pytest.raises(OptionError, match="those of a GPU"):
            measure("cpu")
    else:
        assert measure("cpu").not_measured.keys() == METRICS.keys()


def test_what_is_kept_comes_back(folder):
    path = cache.path_of(GPU, ENVIRONMENT)
    assert path.is_relative_to(folder)
    assert cache.load(path) is None
    cache.save(path, h200())
    assert cache.load(path) == h200()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"gpu": 3}', b'{"gpu": "x", "copy": 5}'])
def test_a_damaged_file_is_told_and_not_used(content):
    path = cache.path_of(GPU, ENVIRONMENT)
    cache.save(path, h200())
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="measured again"):
        assert cache.load(path) is None


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(folder):
    (folder / "ceilings").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="cannot be kept"):
        cache.save(cache.path_of(GPU, ENVIRONMENT), h200())


@pytest.mark.parametrize(
    ("gpu", "environment"),
    [
        (GPU | {"name": "NVIDIA H100 PCIe"}, ENVIRONMENT),
        (GPU | {"sms": 66}, ENVIRONMENT),
        (GPU | {"power_limit_w": 400.0}, ENVIRONMENT),
        (GPU, ENVIRONMENT | {"driver": "590.1"}),
        (GPU, ENVIRONMENT | {"packages": {"torch": "2.12.0"}}),
    ],
)
def test_another_gpu_driver_torch_or_power_limit_has_a_file_of_its_own(gpu, environment):
    assert cache.path_of(gpu, environment) != cache.path_of(GPU, ENVIRONMENT)
    assert cache.path_of(dict(GPU), dict(ENVIRONMENT)) == cache.path_of(GPU, ENVIRONMENT)


def test_a_name_cannot_lead_out_of_the_folder(folder):
    path = cache.path_of({"name": "../../etc/passwd"}, {})
    assert path.parent == folder / "ceilings"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, Path.home() / ".cache" / "profkit"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, Path("/elsewhere/profkit")),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, Path.home() / "Library" / "Caches" / "profkit"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/profkit")),
        ("linux", {"PROFKIT_CACHE": "/mine", "XDG_CACHE_HOME": "/elsewhere"}, Path("/mine")),
    ],
)
def test_the_folder_is_the_platforms_own(monkeypatch, platform, variables, expected):
    for name in ("PROFKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.folder() == expected


def test_every_metric_is_a_field():
    names = {field.name for field in dataclasses.fields(Ceilings)}
    assert set(METRICS) <= names
    assert all(math.isfinite(getattr(datasheet("L4"), name).value) for name in ("copy", "read", "bf16", "fp16", "fp8"))
