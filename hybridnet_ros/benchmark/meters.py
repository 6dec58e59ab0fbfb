"""Reads what a machine says about its memory and its energy; what it does not say is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_POWERCAP = Path("/sys/class/powercap")


@dataclass
class Energy:
    """Joules by meter, over so many seconds."""

    joules: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def watts(self) -> dict[str, float]:
        """Mean power by meter."""
        return {name: joules / self.seconds for name, joules in self.joules.items()} if self.seconds else {}


class RaplMeter:
    """A processor package's energy counter, which Linux lets only some users read."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of one package below /sys/class/powercap; OSError where it may not be read."""
        self.name = f"cpu {(folder / 'name').read_text().strip()}"
        self._counter = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj = int(self._counter.read_text())

    def joules_since_last(self) -> float:
        """Energy since the last call; the counter starts again at nothing when it is full."""
        now_uj = int(self._counter.read_text())
        spent_uj = (now_uj - self._last_uj) % self._range_uj
        self._last_uj = now_uj
        return spent_uj * 1e-6


class GpuMeter:
    """An NVIDIA GPU's energy counter and memory, by NVML (the package nvidia-ml-py)."""

    def __init__(self, nvml: Any, index: int) -> None:
        """`nvml`: the module pynvml after nvmlInit; its NVMLError where the GPU keeps no such counter."""
        self._nvml, self._handle = nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(self._handle)
        self.name = f"gpu {index} {name.decode() if isinstance(name, bytes) else name}"
        self._last_mj = nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)

    def joules_since_last(self) -> float:
        """Energy since the last call."""
        now_mj = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        spent_mj = now_mj - self._last_mj
        self._last_mj = now_mj
        return float(spent_mj) * 1e-3

    def used_bytes(self) -> int:
        """Memory in use on the GPU, by all processes."""
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)


class Meters:
    """Every meter that can be read here."""

    def __init__(self, powercap: Path = _POWERCAP) -> None:
        """Finds them; `powercap` is where Linux shows the processor's."""
        self.gpus = list(_gpu_meters())
        self._all: list[RaplMeter | GpuMeter] = [*_rapl_meters(powercap), *self.gpus]

    @property
    def names(self) -> list[str]:
        """What is measured."""
        return [meter.name for meter in self._all]

    @contextmanager
    def adding_to(self, energy: Energy) -> Iterator[None]:
        """Adds what is spent inside to `energy`."""
        for meter in self._all:
            meter.joules_since_last()
        start = time.perf_counter()
        yield
        energy.seconds += time.perf_counter() - start
        for meter in self._all:
            energy.joules[meter.name] = energy.joules.get(meter.name, 0.0) + meter.joules_since_last()

    def memory(self) -> Mapping[str, int]:
        """Bytes in use: `process` (resident) and each GPU by name (all processes)."""
        return {"process": resident_bytes(), **{gpu.name: gpu.used_bytes() for gpu in self.gpus}}


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rapl_meters(powercap: Path) -> Iterator[RaplMeter]:
    for folder in sorted(powercap.glob("intel-rapl:?")):
        try:
            yield RaplMeter(folder)
        except OSError:
            continue  # only root may read it, which the result says by having no such figure


def _gpu_meters() -> Iterator[GpuMeter]:
    try:
        import pynvml as nvml
    except ImportError:
        return
    try:
        nvml.nvmlInit()
        for index in range(nvml.nvmlDeviceGetCount()):
            yield GpuMeter(nvml, index)
    except nvml.NVMLError:
        return  # no driver, or a GPU without these counters
