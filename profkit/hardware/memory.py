"""How much memory of a GPU can a process use?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from profkit.errors import OptionError, ProfkitError, nearest
from profkit.hardware.gpus import GPUS, GpuSpec

_GIB: Final = 2**30

_ECC_IN_LINE: Final = ("L4", "L40S", "A10")
"""GDDR6 that keeps its error correction codes in the memory itself, switched on as shipped."""
_DISPLAY: Final = ("RTX 4090", "RTX 3090")
_HELD_BACK: Final = 0.015
_HELD_BACK_DISPLAY: Final = 0.03
_HELD_BACK_ECC: Final = 0.09
"""Share of the printed size that CUDA does not report (driver, firmware, in-line ECC), rounded up. torch's
out-of-memory messages report 79.1 to 79.4 GiB of an H100's 80, 139.7 to 139.8 of an H200's 141, 178.4 of a
B200's 180, 44.4 of an L40S' 48, 22.0 of an L4's or an A10's 24, 23.5 to 23.7 of an RTX 4090's 24."""

CONTEXT_BYTES: Final = _GIB * 3 // 4
"""A CUDA context, kernels as they are loaded, cuBLAS workspaces, and what the allocator rounds away."""
CONTEXT_BYTES_HERE: Final = _GIB
"""Of a process that has its context already: workspaces, kernels not loaded yet, and what the allocator rounds away,
all of which a datasheet's share leaves room for. With half of it two of four plans were one sequence too large on an
H200 (benchmarks/kv_plan.py)."""


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU, and what of it is not for weights and cache."""

    name: str
    memory_bytes: int
    overhead_bytes: int
    overhead: str  # what that is


def gpu_memory(gpu: str | float) -> GpuMemory:
    """The memory of a GPU by its name in the table, of this process' GPU ("here"), or of a number of bytes.

    Vendors print memory in GB and mean 2^30 bytes: an H100 "80 GB" has 85.9 · 10^9 bytes, of which its driver
    shows 81,559 MiB.

    Raises:
        OptionError: an unknown name, or one that GPUs of different memory share.
        ProfkitError: "here" without a GPU.
    """
    if gpu == "here":
        return _here()
    if isinstance(gpu, str):
        spec = named(gpu)
        share = _HELD_BACK
        if spec.name in _ECC_IN_LINE:
            share = _HELD_BACK_ECC
        elif spec.name in _DISPLAY:
            share = _HELD_BACK_DISPLAY
        memory = round(spec.memory_gb * _GIB)
        why = f"{100 * share:g} % that CUDA does not report, and 0.75 GiB for its context, kernels and workspaces"
        return GpuMemory(spec.name, memory, round(memory * share) + CONTEXT_BYTES, why)
    if isinstance(gpu, bool) or not isinstance(gpu, int | float) or gpu < 1e6:
        raise OptionError(f"gpu is a name, 'here', or its memory in bytes, not {gpu!r}")
    why = "0.75 GiB for the CUDA context, kernels and workspaces"
    return GpuMemory(f"GPU of {gpu / _GIB:.4g} GiB", int(gpu), CONTEXT_BYTES, why)


def named(name: str) -> GpuSpec:
    """The GPU that a name or its beginning stands for: "H200" is the H200 SXM, with the NVL's memory too.

    Raises:
        OptionError: there is none, or several of different memory.
    """
    wanted = name.casefold().strip()
    found = [gpu for gpu in GPUS if gpu.name.casefold() == wanted]
    found = found or [gpu for gpu in GPUS if wanted and gpu.name.casefold().startswith(f"{wanted} ")]
    if not found:
        raise OptionError(f"no GPU {name!r} in the table{nearest(name, [gpu.name for gpu in GPUS])}")
    if len({gpu.memory_gb for gpu in found}) > 1:
        raise OptionError(f"gpu {name!r} may be {' or '.join(f'{g.name} ({g.memory_gb:g} GB)' for g in found)}")
    return found[0]


def _here() -> GpuMemory:
    import torch

    if not torch.cuda.is_available():
        raise ProfkitError("gpu='here' needs a CUDA GPU; name one instead: gpu='H200'")
    free, _ = torch.cuda.mem_get_info()
    memory = free + torch.cuda.memory_reserved()
    why = "1 GiB for workspaces, kernels not loaded yet and what the allocator rounds away"
    return GpuMemory(f"{torch.cuda.get_device_name()}, free here", memory, CONTEXT_BYTES_HERE, why)
