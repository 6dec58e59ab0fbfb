"""What `hybridnet benchmark engine` found: as an object, as JSON and as a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # floor.py needs the package onnx, reports do not
    from hybridnet_ros.benchmark.floor import Cost, Floor, Peaks

BENCHMARK = "engine"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One engine at one batch size.

    Attributes:
        network, precision: of the engine.
        runtime: what ran it.
        description: all of it in one line.
        batch: images in a call.
        calls: so many were timed.
        p50_ms, p95_ms, p99_ms: a call's time, from camera pictures to depth and labels of their size.
        images_per_s: throughput.
        opened_bytes: by how much the process grew when the engine was opened.
        watts: mean power during its calls, by meter; idle power included.
        floor_ratio: median time over the least that the processor needs for float32; None where it was not the
            processor that computed, or the floor is not known. What computes in fewer bits can be below 1.
    """

    network: str
    precision: str
    runtime: str
    description: str
    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_s: float
    opened_bytes: int
    watts: Mapping[str, float]
    floor_ratio: float | None


@dataclass(frozen=True)
class Report:
    """A run.

    Attributes:
        onnx_sha256: of each network.
        size, network_size: (width, height) of the camera's pictures, and at which the network sees them.
        machine, software: where it was measured.
        meters: energy counters that could be read.
        memory_bytes: in use at the end, with all engines open.
        load: processes that wanted a core, mean of the last minute, before and after: above the number of cores others
            were at work, too.
        cost, peaks, floor: of one image, of the processor, and the least time that follows; None without the package
            onnx.
        rows: what was measured.
    """

    onnx_sha256: Mapping[str, str]
    size: tuple[int, int]
    network_size: tuple[int, int]
    machine: str
    software: Mapping[str, str]
    meters: Sequence[str]
    memory_bytes: Mapping[str, int]
    load: tuple[float, float]
    cost: Cost | None
    peaks: Peaks | None
    floor: Floor | None
    rows: Sequence[Row]

    def table(self) -> str:
        """The figures for a terminal."""
        head = ("", "batch", "p50 ms", "p95 ms", "p99 ms", "images/s", "calls", "x floor")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
            for line in cells
        ]  # fmt: skip
        camera, network = "x".join(map(str, self.size)), "x".join(map(str, self.network_size))
        lines = [f"camera {camera}, network {network}", *lines]
        if self.cost and self.peaks and self.floor:
            lines.append(
                f"floor of the processor for one image in float32: {self.floor.arithmetic_ms:.1f} ms of arithmetic "
                f"({self.cost.macs / 1e9:.2f} GMAC at {self.peaks.flops / 1e9:.0f} GFLOP/s), "
                f"{self.floor.memory_ms:.1f} ms of memory ({self.peaks.bytes_per_s / 1e9:.0f} GB/s)"
            )
        return "\n".join([*lines, f"{self.machine}, load {self.load[0]:.1f} before and {self.load[1]:.1f} after"])

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        data = {"benchmark": BENCHMARK, "format_version": FORMAT_VERSION, **asdict(self)}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    times = (f"{milliseconds:.1f}" for milliseconds in (row.p50_ms, row.p95_ms, row.p99_ms))
    ratio = "" if row.floor_ratio is None else f"{row.floor_ratio:.2f}"
    name = f"{row.network}, {row.runtime}"
    return (name, str(row.batch), *times, f"{row.images_per_s:.1f}", str(row.calls), ratio)
