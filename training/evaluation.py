"""The evaluation of one network as a JSON file: its figures, and all that says which network it was."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from training.config import ConfigError, RunConfig, Weights
from training.cost import Cost
from training.run_folder import RunFolder

Figures = dict[str, dict[str, Any]]
"""By task: `labels` (G, C, IoU and per class) and `depth` (the eight measures, pooled and per image)."""


@dataclass(frozen=True)
class Trained:
    """The run that a network comes from.

    Attributes:
        config: all of it.
        weights: which of the run's.
        step: that they are of.
        sha256: of the file that holds them.
        environment: versions, machine and commit of the training, as the run's folder has them.
    """

    config: RunConfig
    weights: Weights
    step: int
    sha256: str
    environment: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What a network scored on some data.

    Attributes:
        name: of the run's folder or of the engine.
        engine: what ran it, in one line.
        split: asked for in place of the config's; None without.
        figures: over the images as a whole.
        tiles: the same with each image seen in tiles, and `grid` (columns, rows); None where it was not asked for.
        cost: None for an engine, see `hybridnet benchmark engine`.
        run: None for an engine.
    """

    name: str
    engine: str
    split: str | None
    figures: Figures
    tiles: dict[str, Any] | None = None
    cost: Cost | None = None
    run: Trained | None = field(default=None, repr=False)

    def value(self, *keys: str) -> float | None:
        """A figure, e.g. of ("labels", "mean_iou") or ("tiles", "depth", "pooled", "abs_rel"); None without it."""
        found: Any = {**self.figures, "tiles": self.tiles}
        for key in keys:
            if not isinstance(found, dict) or found.get(key) is None:
                return None
            found = found[key]
        return float(found)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        described: dict[str, Any] = {"name": self.name, "engine": self.engine, "split": self.split, **self.figures}
        if self.tiles is not None:
            described["tiles"] = self.tiles
        if self.cost is not None:
            described["cost"] = dataclasses.asdict(self.cost)
        if self.run is not None:
            described["run"] = {
                "weights": self.run.weights,
                "step": self.run.step,
                "sha256": self.run.sha256,
                "environment": self.run.environment,
                "config": self.run.config.model_dump(mode="json"),
            }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """What `save` wrote; ConfigError names the file when it is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            cost, run = values.get("cost"), values.get("run")
            return cls(
                name=values["name"],
                engine=values["engine"],
                split=values["split"],
                figures={task: values[task] for task in ("labels", "depth") if task in values},
                tiles=values.get("tiles"),
                cost=cost and Cost(**{**cost, "together": tuple(cost["together"])}),
                run=run and Trained(**{**run, "config": RunConfig.model_validate(run["config"])}),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pydantic.ValidationError) as error:
            raise ConfigError(
                f"{path} is no evaluation ({error}): write one with python -m training.evaluate --output"
            ) from error


def weights_sha256(run: RunFolder, weights: Weights) -> str:
    """Of the file that holds the `weights` of a run."""
    return hashlib.sha256(run.weights_file(weights).read_bytes()).hexdigest()
