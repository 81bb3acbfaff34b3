"""What does the driver say of the GPUs that this process uses? NVML, typed, each refusal with its reason.

What the calls cost on an H200: a reading 1 to 5 µs, a sample of the hardware counters 34 µs, the energy
counter 2.8 ms. They let go of the GIL meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar

from profkit.errors import OptionError, ProfkitError
from profkit.record import Metric

_T = TypeVar("_T")


class ReadingError(ProfkitError):
    """A reading that could not be had; the message is the reason, in words for people."""


# nvmlReturn_t of nvml.h, where the driver's own words would not tell a user what to do.
_REASONS: Final = {
    3: "not supported by this GPU",
    4: "no permission: the container or the driver's settings withhold it",
    9: "the NVIDIA driver is not loaded: no GPU is attached, or `nvidia-smi` tells why",
    12: "no NVIDIA driver on this machine",
    13: "not in this driver: a newer one has it",
    15: "the GPU is lost: it has to be reset",
    18: "the driver was updated under this session: reload it or reboot",
}
_NOT_FOUND: Final = 6
_NO_DATA: Final = 21

_POWER_VALUE: Final = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
"""Field of nvmlValue_t by nvmlValueType_t."""

_MIB: Final = 1024.0 * 1024.0

_GPM: Final[dict[Metric, tuple[int, float]]] = {
    Metric.SM_ACTIVE: (2, 1.0),
    Metric.SM_OCCUPANCY: (3, 1.0),
    Metric.TENSOR_ACTIVE: (5, 1.0),
    Metric.DRAM_ACTIVE: (10, 1.0),
    Metric.PCIE_TX: (20, _MIB),
    Metric.PCIE_RX: (21, _MIB),
    Metric.NVLINK_RX: (60, _MIB),
    Metric.NVLINK_TX: (61, _MIB),
}
"""nvmlGpmMetricId_t and the factor to our unit; NVML gives traffic in MiB/s."""


def _temperature(nvml: ModuleType, handle: object) -> float:
    # The versioned call is younger than some drivers, and the plain one goes with CUDA 14.
    versioned = getattr(nvml, "nvmlDeviceGetTemperatureV", None)
    if versioned is not None:
        with contextlib.suppress(nvml.NVMLError_FunctionNotFound):
            return float(versioned(handle, nvml.NVML_TEMPERATURE_GPU))
    return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


_READ: Final[dict[Metric, Callable[[ModuleType, object], float]]] = {
    Metric.GPU_UTILIZATION: lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    Metric.SM_CLOCK: lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
    Metric.MEMORY_CLOCK: lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
    Metric.TEMPERATURE: _temperature,
    # Version 2 leaves out what the driver reserves for itself.
    Metric.MEMORY_USED: lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2).used,
    Metric.CLOCK_EVENT_REASONS: lambda nvml, gpu: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
    Metric.POWER: lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
}


@dataclass(frozen=True)
class Activity:
    """The hardware counters over one window: what was read, and why the rest was not."""

    values: dict[Metric, float]
    failed: dict[Metric, str]


@dataclass(frozen=True)
class Limits:
    """What the GPU is set to allow; None where the driver does not say."""

    sm_clock_max_mhz: int | None
    memory_clock_max_mhz: int | None
    power_limit_w: float | None


@dataclass(frozen=True)
class Found:
    """The GPUs that can be read, and why others cannot (what: why)."""

    gpus: list[Gpu]
    not_measured: dict[str, str]


class Gpu:
    """One GPU's readings. Each raises `ReadingError` by itself; none of them answers 0 for "unknown"."""

    def __init__(self, device: int, nvml: ModuleType, handle: object, mig: bool = False) -> None:
        self.device = device  # as torch counts
        self._nvml = nvml
        self._handle = handle
        self._mig = mig
        self._gpm: _Gpm | None = None

    def read(self, metric: Metric) -> float:
        """One reading of a metric that NVML answers at once; power is then a mean over up to 1 s."""
        with _reasons(self._nvml):
            return float(_READ[metric](self._nvml, self._handle))

    def power_samples(self, after_us: int) -> list[tuple[int, float]]:
        """The driver's own power samples younger than `after_us`: Unix time in µs, W, oldest first.

        They lie 20 ms apart, and the driver keeps about the last 2.4 s of them.
        """
        nvml = self._nvml
        try:
            kind, samples = nvml.nvmlDeviceGetSamples(self._handle, nvml.NVML_TOTAL_POWER_SAMPLES, after_us)
        except nvml.NVMLError as error:
            if error.value in {_NOT_FOUND, _NO_DATA}:  # nothing younger yet
                return []
            raise ReadingError(_reason(error)) from error
        value = _POWER_VALUE[kind]
        return sorted(
            (sample.timeStamp, getattr(sample.sampleValue, value) / 1e3)
            for sample in samples
            if sample.timeStamp > after_us
        )

    def energy_j(self) -> float:
        """Energy since the driver was loaded, J. The counter steps every 100 ms."""
        with _reasons(self._nvml):
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3

    def activity(self) -> Activity | None:
        """The hardware counters since the call before (None at the first): 100 ms or more, shorter reads 0.

        Values lag by about one window: the first after a change mixes old and new.
        """
        with _reasons(self._nvml):
            if self._gpm is None:
                self._gpm = _Gpm(self._nvml, self._handle, self._mig)
            return self._gpm.window()

    def limits(self) -> Limits:
        """Highest clocks and the power limit in force."""
        nvml, handle = self._nvml, self._handle
        return Limits(
            sm_clock_max_mhz=_known(nvml, lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
            memory_clock_max_mhz=_known(nvml, lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            power_limit_w=_known(nvml, lambda: float(nvml.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1e3),
        )

    def close(self) -> None:
        """Free what the hardware counters hold in the driver."""
        gpm, self._gpm = self._gpm, None
        if gpm is not None:
            gpm.close()


class _Gpm:
    """Two samples of the hardware counters, taken in turn: a window lies between the last two."""

    def __init__(self, nvml: ModuleType, handle: object, mig: bool) -> None:
        self._nvml = nvml
        if mig:
            # An instance's counters are asked of the card that it is a part of.
            card = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            instance = nvml.nvmlDeviceGetGpuInstanceId(handle)
            self._take = functools.partial(nvml.nvmlGpmMigSampleGet, card, instance)
        else:
            card = handle
            self._take = functools.partial(nvml.nvmlGpmSampleGet, card)
        if not nvml.nvmlGpmQueryDeviceSupport(card).isSupportedDevice:
            raise ReadingError("needs a GPU of the Hopper generation or newer")
        self._spare = nvml.nvmlGpmSampleAlloc()
        self._newest = nvml.nvmlGpmSampleAlloc()
        self._begun = False

    def window(self) -> Activity | None:
        self._take(self._spare)
        self._newest, self._spare = self._spare, self._newest
        if not self._begun:
            self._begun = True
            return None
        request = self._nvml.c_nvmlGpmMetricsGet_t()
        request.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(_GPM)
        request.sample1, request.sample2 = self._spare, self._newest
        for slot, (identifier, _) in zip(request.metrics, _GPM.values(), strict=False):
            slot.metricId = identifier
        self._nvml.nvmlGpmMetricsGet(request)
        activity = Activity({}, {})
        for slot, (metric, (_, factor)) in zip(request.metrics, _GPM.items(), strict=False):
            if slot.nvmlReturn != 0:
                activity.failed[metric] = _reason(self._nvml.NVMLError(slot.nvmlReturn))
            elif not math.isfinite(slot.value):
                activity.failed[metric] = "the driver gave no number"
            else:
                activity.values[metric] = slot.value * factor
        return activity

    def close(self) -> None:
        for sample in (self._spare, self._newest):
            self._nvml.nvmlGpmSampleFree(sample)


def find_gpus(devices: Sequence[int] | None = None) -> Found:
    """The GPUs that torch sees (or `devices` of them, as torch counts) with their NVML handles.

    They are matched by UUID, else by PCI address. Never by index: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER
    make torch count otherwise than NVML. The first call in a process initialises NVML and torch's CUDA.

    Raises:
        OptionError: torch sees GPUs, but not one of `devices`.
    """
    import torch

    if torch.version.hip:
        return Found([], {"telemetry": "this torch is built for ROCm: telemetry reads NVIDIA GPUs only"})
    try:
        nvml = _load()
        properties = torch_gpus()
    except ReadingError as error:
        return Found([], {"telemetry": str(error)})
    wanted = range(len(properties)) if devices is None else devices
    for device in wanted:
        if not 0 <= device < len(properties):
            known = ", ".join(map(str, range(len(properties))))
            raise OptionError(f"device {device} is not visible to torch; visible are {known}")
    gpus, failed = [], {}
    for device in wanted:
        try:
            handle, mig = _handle(nvml, properties[device])
        except nvml.NVMLError as error:
            failed[device] = f"NVML does not list this GPU: {_reason(error)} (device {device})"
        else:
            gpus.append(Gpu(device, nvml, handle, mig))
    return Found(gpus, {"telemetry": "; ".join(failed.values())} if failed else {})


def torch_gpus() -> list[Any]:
    """The device properties of every GPU that this process sees, in torch's order.

    Raises:
        ReadingError: it sees none; the message says why and what to do.
    """
    import torch

    if not (torch.version.cuda or torch.version.hip):
        raise ReadingError("torch was built without CUDA: install a build with CUDA (pytorch.org)")
    try:
        count = torch.cuda.device_count()
        if count:
            return [torch.cuda.get_device_properties(index) for index in range(count)]
    except RuntimeError as error:  # an old driver, a forked process, a GPU in a bad state
        raise ReadingError(f"torch cannot use CUDA: {str(error).splitlines()[0]}") from error
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        raise ReadingError("CUDA_VISIBLE_DEVICES hides all GPUs: change it and restart Python")
    raise ReadingError("torch sees no GPU: `python -m torch.utils.collect_env` tells what it found")


def driver_version() -> str | None:
    """Version of the NVIDIA driver, None without one."""
    try:
        nvml = _load()
        with _reasons(nvml):
            return str(nvml.nvmlSystemGetDriverVersion())
    except ReadingError:
        return None


@functools.cache
def _load() -> ModuleType:
    """The module pynvml, initialised once and kept so: the second profile then starts at once.

    Raises:
        ReadingError: there is no driver, or it does not answer.
    """
    import pynvml

    nvml: ModuleType = pynvml
    with _reasons(nvml):
        nvml.nvmlInit()
    return nvml


def _handle(nvml: ModuleType, properties: object) -> tuple[object, bool]:
    """NVML's handle of a GPU that torch describes, and whether it is a MIG instance."""
    uuid = str(getattr(properties, "uuid", ""))
    for kind in ("GPU-", "MIG-"):
        with contextlib.suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(kind + uuid.removeprefix(kind)), kind == "MIG-"
    domain, bus, slot = (getattr(properties, f"pci_{part}_id", 0) for part in ("domain", "bus", "device"))
    return nvml.nvmlDeviceGetHandleByPciBusId(f"{domain:08X}:{bus:02X}:{slot:02X}.0"), False


def _known(nvml: ModuleType, read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except nvml.NVMLError:
        return None


@contextlib.contextmanager
def _reasons(nvml: ModuleType) -> Iterator[None]:
    """Turns NVML's errors into `ReadingError`."""
    try:
        yield
    except nvml.NVMLError as error:
        raise ReadingError(_reason(error)) from error


def _reason(error: Exception) -> str:
    code: int = getattr(error, "value", -1)
    return _REASONS.get(code, f"NVML answers: {error}")
