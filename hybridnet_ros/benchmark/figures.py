"""What a benchmark of the node or of the transport measures: figures of one run, as objects, JSON and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Ages:
    """Percentiles of ages in ms; None where there was nothing to measure."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, ages_ms: Sequence[float]) -> Ages:
        """The percentiles of `ages_ms`."""
        if not len(ages_ms):
            return cls(None, None, None, None)
        p50, p95, p99 = (round(float(value), 3) for value in np.percentile(ages_ms, (50, 95, 99)))
        return cls(p50, p95, p99, round(float(max(ages_ms)), 3))

    def text(self) -> str:
        """`p50 / p95 / p99` for a table."""
        return " / ".join("-" if value is None else f"{value:.1f}" for value in (self.p50, self.p95, self.p99))


@dataclass(frozen=True)
class Load:
    """What a process used during a run: share of one core in percent, and resident memory at its end in MiB."""

    cpu_percent: float
    memory_mib: float


@dataclass(frozen=True)
class NodeRun:
    """One run of a node at one rate.

    Attributes:
        node: "hybridnet" or the name of what it is compared with.
        rate_hz: asked of the camera.
        camera_hz: what the camera sent.
        camera_latest_ms: by how much its latest frame was late.
        sent: frames the camera published, with the one or more that close our node's account.
        received: of these, frames that reached the node; None for a node that does not tell.
        answered: frames of which every output arrived at the listener.
        drops: frames without an answer, by cause.
        publish_ms: from a frame's stamp until its last output was handed to the middleware.
        arrive_ms: from a frame's stamp until its last output had arrived in the listener's process.
        load: by process: node, camera, listener.
        node_values: what the node said on /diagnostics at the end of the run.
    """

    node: str
    rate_hz: float
    camera_hz: float
    camera_latest_ms: float
    sent: int
    received: int | None
    answered: int
    drops: dict[str, int]
    publish_ms: Ages
    arrive_ms: Ages
    load: dict[str, Load]
    node_values: dict[str, str] = field(default_factory=dict)

    @property
    def dropped_share(self) -> float:
        """Frames without an answer, as a share of those sent."""
        return 1 - self.answered / self.sent if self.sent else 1.0

    def cells(self) -> list[str]:
        """A row of the table; see HEADINGS."""
        causes = ", ".join(f"{count} {cause}" for cause, count in self.drops.items() if count)
        return [
            self.node,
            f"{self.rate_hz:g}",
            f"{self.answered} of {self.sent}",
            self.publish_ms.text(),
            self.arrive_ms.text(),
            f"{self.load['node'].cpu_percent:.0f} %",
            f"{self.load['node'].memory_mib:.0f}",
            causes or "-",
        ]


HEADINGS = ["node", "Hz", "answered", "published, ms", "arrived, ms", "CPU", "MiB", "dropped"]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (headings, *rows)]  # fmt: skip
    return "\n".join(lines)
