"""What a demo run measured, as an object, as a table for the terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """The figures of a run.

    Attributes:
        sent: frames the player published.
        answered: of these, frames for which every output arrived.
        rate_hz: answers a second, from the first to the last.
        age_p50_ms, age_p95_ms: from a frame's stamp to the arrival of its whole answer in another process.
        ages_ms: of each answered frame, in the order in which they were sent; None where there was no answer.
        depth: DepthMetrics over all LiDAR pixels of the recorded frames that were answered.
        confidence: mean probability of the published labels, 0 to 1.
        engine: network and runtime in one line.
        machine: processor and software in one line.
        domain: the ROS domain.
        node_values: what the node last said on /diagnostics.
    """

    sent: int
    answered: int
    rate_hz: float
    age_p50_ms: float
    age_p95_ms: float
    ages_ms: tuple[float | None, ...]
    depth: dict[str, float]
    confidence: float
    engine: str
    machine: str
    domain: int
    node_values: dict[str, str]

    @property
    def dropped(self) -> int:
        """Frames without a whole answer."""
        return self.sent - self.answered

    def rows(self) -> list[tuple[str, str, str]]:
        """(name, value, what it means) of each figure."""
        depth = self.depth
        return [
            ("frames answered", f"{self.answered} of {self.sent}", "all outputs, with the stamp of their image"),
            ("rate", f"{self.rate_hz:.1f} Hz", "answers a second"),
            ("age, median", f"{self.age_p50_ms:.0f} ms", "from the image's stamp to its answer in another process"),
            ("age, 95 %", f"{self.age_p95_ms:.0f} ms", "95 of 100 answers were younger"),
            ("dropped", str(self.dropped), "frames without an answer"),
            ("depth AbsRel", f"{depth['abs_rel']:.3f}", "mean |depth - LiDAR| / LiDAR"),
            ("depth RMSE", f"{depth['rmse']:.2f} m", "root of the mean squared error"),
            ("depth delta1", f"{depth['delta1']:.3f}", "share of pixels off by less than a factor of 1.25"),
            (
                "LiDAR pixels",
                f"{depth['pixels']:.0f}",
                f"compared; {depth['missing']:.0f} more had no depth",
            ),
            ("confidence", f"{self.confidence:.2f}", "mean probability of the labels"),
        ]

    def table(self) -> str:
        """The figures for a terminal."""
        rows = self.rows()
        names, values = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
        lines = [f"  {name:<{names}}  {value:>{values}}  {meaning}" for name, value, meaning in rows]
        return "\n".join([*lines, f"  {'engine':<{names}}  {self.engine}", f"  {'machine':<{names}}  {self.machine}"])

    def save(self, path: Path) -> None:
        """Write the figures as JSON."""
        plain: dict[str, Any] = {**asdict(self), "dropped": self.dropped}
        path.write_text(json.dumps(_without_nan(plain), indent=2) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
