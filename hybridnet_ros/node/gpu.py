"""What the driver says of the GPU, through NVML where nvidia-ml-py is installed; nothing elsewhere."""

from __future__ import annotations

import os
from functools import cache
from typing import Any


def gpu_values() -> list[tuple[str, str]]:
    """Name, memory and temperature of the first GPU this process may use; empty where they cannot be read."""
    nvml = _nvml()
    if nvml is None:
        return []
    try:
        handle = _handle(nvml, os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip())
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        celsius = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError:  # a GPU that fell off the bus, or one whose driver does not tell
        return []
    return [
        ("GPU", name.decode() if isinstance(name, bytes) else name),
        ("GPU memory used (MiB)", f"{memory.used >> 20} of {memory.total >> 20}"),
        ("GPU temperature (C)", str(celsius)),
    ]


@cache
def _nvml() -> Any | None:
    """The module pynvml, ready for use; None where it or a driver is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _handle(nvml: Any, device: str) -> Any:
    """A GPU by its number or its UUID, as CUDA_VISIBLE_DEVICES has them."""
    return nvml.nvmlDeviceGetHandleByIndex(int(device)) if device.isdigit() else nvml.nvmlDeviceGetHandleByUUID(device)
