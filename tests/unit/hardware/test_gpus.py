"""The datasheet table: the right row for what torch reports, none for what it does not know."""

import pytest

from profkit.hardware.gpus import GPUS, find


@pytest.mark.parametrize(
    ("torch_name", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("A100-SXM4-40GB", "A100 40GB SXM"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("h200 sxm", "H200 SXM"),
    ],
)
def test_finds_the_row_of_a_known_gpu(torch_name, name):
    spec = find(torch_name)
    assert spec is not None
    assert spec.name == name


@pytest.mark.parametrize(
    "torch_name",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",  # a slice
        "NVIDIA GH200 480GB",
        "NVIDIA A10G",  # a cloud's own variant
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "AMD Instinct MI300X OAM",  # also what some MI308X report
        "H100",  # which of the three?
        "",
    ],
)
def test_does_not_guess_the_figures_of_another_gpu(torch_name):
    assert find(torch_name) is None


def test_figures_are_dense_and_have_a_source():
    for spec in GPUS:
        assert "https://" in spec.source
        # Dense fp8 is twice dense bf16 on every GPU that has it; a sparse figure in either column would show.
        if spec.fp8_tflops is not None:
            assert spec.fp8_tflops == pytest.approx(2 * spec.bf16_tflops, rel=0.02)


def test_one_name_never_has_two_rows():
    names = [spec.name for spec in GPUS]
    assert len(set(names)) == len(names)
