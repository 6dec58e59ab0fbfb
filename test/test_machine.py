"""Figures name the processor that they were measured on."""

from __future__ import annotations

import pytest

from hybridnet_ros.machine import _processor, machine

RENTED = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC

processor\t: 1
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
"""
JETSON = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nCPU implementer\t: 0x41\n"
RASPBERRY = "processor\t: 0\nCPU implementer\t: 0x41\n\nRevision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (RENTED, "AMD EPYC (family 25, model 17)"),
        (JETSON, "ARMv8 Processor rev 1 (v8l)"),
        (RASPBERRY, "Raspberry Pi 4 Model B"),
        ("", None),
    ],
)
def test_the_processors_generation_is_named_where_it_is_known(cpuinfo: str, name: str | None) -> None:
    assert _processor(cpuinfo) == name


def test_this_machine_is_described_in_one_line() -> None:
    assert "cores" in machine()
    assert "\n" not in machine()
