"""What does each GPU's datasheet promise: arithmetic, memory, bandwidth, power?

Arithmetic is dense. Where a vendor prints figures with 2:4 sparsity, they are halved here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class GpuSpec:
    """One GPU by its vendor's sheet: upper limits, of which a real program sees less."""

    name: str
    bf16_tflops: float  # dense, on tensor or matrix cores, accumulated in fp32
    fp8_tflops: float | None  # likewise; None where the GPU has no fp8
    memory_gb: float  # 10^9 bytes
    bandwidth_gb_s: float
    power_w: float  # the board's highest
    source: str
    torch_name: str  # pattern of `torch.cuda.get_device_name()`, all of it


_H100 = (
    "NVIDIA H100 Tensor Core GPU Datasheet, "
    "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
)
_H200 = "NVIDIA H200 Tensor Core GPU, specifications, https://www.nvidia.com/en-us/data-center/h200/"
_A100 = (
    "NVIDIA A100 Tensor Core GPU Datasheet, https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/"
    "a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)

# Name, bf16, fp8, GB, GB/s, W, source, torch's name.
GPUS: Final = (
    GpuSpec("H100 SXM", 989.5, 1979, 80, 3350, 700, _H100, r"NVIDIA H100 80GB HBM3"),
    GpuSpec("H100 NVL", 835.5, 1670.5, 94, 3900, 400, _H100, r"NVIDIA H100 NVL"),
    GpuSpec("H100 PCIe", 756.5, 1513, 80, 2000, 350, _H100, r"NVIDIA H100 PCIe"),
    GpuSpec("H200 SXM", 989.5, 1979, 141, 4800, 700, _H200, r"NVIDIA H200"),
    GpuSpec("H200 NVL", 835.5, 1670.5, 141, 4800, 600, _H200, r"NVIDIA H200 NVL"),
    GpuSpec(
        "B200",
        2250,
        4500,
        180,
        8000,
        1000,
        "NVIDIA DGX B200 Datasheet (8 GPUs) and Blackwell Architecture Technical Brief (HGX B200), "
        "https://resources.nvidia.com/en-us-dgx-systems/dgx-b200-datasheet, "
        "https://resources.nvidia.com/en-us-blackwell-architecture",
        r"NVIDIA B200",
    ),
    GpuSpec("A100 80GB SXM", 312, None, 80, 2039, 400, _A100, r"(NVIDIA )?A100-SXM4-80GB"),
    GpuSpec("A100 80GB PCIe", 312, None, 80, 1935, 300, _A100, r"(NVIDIA )?A100 80GB PCIe"),
    GpuSpec("A100 40GB SXM", 312, None, 40, 1555, 400, _A100, r"(NVIDIA )?A100-SXM4-40GB"),
    GpuSpec("A100 40GB PCIe", 312, None, 40, 1555, 250, _A100, r"(NVIDIA )?A100-PCIE-40GB"),
    GpuSpec(
        "L4",
        121,
        242.5,
        24,
        300,
        72,
        "NVIDIA L4 Tensor Core GPU, specifications, https://www.nvidia.com/en-us/data-center/l4/",
        r"NVIDIA L4",
    ),
    GpuSpec(
        "L40S",
        362.05,
        733,
        48,
        864,
        350,
        "NVIDIA L40S, specifications, https://www.nvidia.com/en-us/data-center/l40s/",
        r"NVIDIA L40S",
    ),
    GpuSpec(
        "A10",
        125,
        None,
        24,
        600,
        150,
        "NVIDIA A10 Tensor Core GPU Datasheet, "
        "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a10/pdf/a10-datasheet.pdf",
        r"NVIDIA A10",
    ),
    GpuSpec(
        "RTX 4090",
        165.2,
        330.3,
        24,
        1008,
        450,
        "NVIDIA Ada GPU Architecture, appendix A, "
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
        r"NVIDIA GeForce RTX 4090",
    ),
    GpuSpec(
        "RTX 3090",
        71,
        None,
        24,
        936,
        350,
        "NVIDIA Ampere GA102 GPU Architecture, appendix A, "
        "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf",
        r"NVIDIA GeForce RTX 3090",
    ),
    GpuSpec(
        "MI300X",
        1307.4,
        2614.9,
        192,
        5300,
        750,
        "AMD Instinct MI300X Accelerator, specifications, "
        "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html",
        r"AMD Instinct MI300X",
    ),
)


def find(torch_name: str) -> GpuSpec | None:
    """The GPU of this name, which may be torch's or this table's; None for every other.

    Never the nearest: a slice of a GPU (MIG), a laptop's or a cloud's own variant has figures of its own.
    """
    for gpu in GPUS:
        if re.fullmatch(gpu.torch_name, torch_name) or torch_name.casefold() == gpu.name.casefold():
            return gpu
    return None
