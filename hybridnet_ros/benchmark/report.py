"""What `hybridnet benchmark engine` found: as an object, as JSON and as a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BENCHMARK = "engine"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One engine at one batch size.

    Attributes:
        name: of the runtime.
        description: network and runtime in one line.
        batch: images in a call.
        calls: so many were timed.
        p50_ms, p95_ms, p99_ms: a call's time, from camera pictures to depth and labels of their size.
        images_per_s: throughput.
        opened_bytes: by how much the process grew when the engine was opened.
        watts: mean power during its calls, by meter; idle power included.
    """

    name: str
    description: str
    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_s: float
    opened_bytes: int
    watts: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """A run.

    Attributes:
        network, onnx_sha256: which network.
        size, network_size: (width, height) of the camera's pictures, and at which the network sees them.
        machine, software: where it was measured.
        meters: energy counters that could be read.
        memory_bytes: in use at the end, with all engines open.
        rows: what was measured.
    """

    network: str
    onnx_sha256: str
    size: tuple[int, int]
    network_size: tuple[int, int]
    machine: str
    software: Mapping[str, str]
    meters: Sequence[str]
    memory_bytes: Mapping[str, int]
    rows: Sequence[Row]

    def table(self) -> str:
        """The figures for a terminal."""
        head = ("", "batch", "p50 ms", "p95 ms", "p99 ms", "images/s", "calls")
        cells = [head] + [
            (row.name, str(row.batch), f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}", f"{row.p99_ms:.1f}",
             f"{row.images_per_s:.1f}", str(row.calls))
            for row in self.rows
        ]  # fmt: skip
        widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
            for line in cells
        ]  # fmt: skip
        camera, network = "x".join(map(str, self.size)), "x".join(map(str, self.network_size))
        return "\n".join([f"{self.network}, camera {camera}, network {network}", *lines, self.machine])

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        data = {"benchmark": BENCHMARK, "format_version": FORMAT_VERSION, **asdict(self)}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
