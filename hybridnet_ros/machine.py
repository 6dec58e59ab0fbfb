"""Which machine figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Processor, cores, system and Python in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model = _processor(cpuinfo.read_text()) or model
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _processor(cpuinfo: str) -> str | None:
    """The name in /proc/cpuinfo, and its generation: rented machines often say no more than "AMD EPYC"."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    says = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    name = says.get("model name", says.get("Model"))
    if name is None or "cpu family" not in says:
        return name
    return f"{name} (family {says['cpu family']}, model {says['model']})"
