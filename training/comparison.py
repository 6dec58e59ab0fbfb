"""Several networks side by side: runs that differ by the seed make one row, and rows gain or lose on single-task ones.

The relative gain of a network on a measure is (its value - the single-task value) / the single-task value, with the
sign turned where less is better: above zero is better (Maninis 2019, Vandenhende 2021). The gain of the whole is the
mean over the tasks of that of IoU class and of RMSE-lin.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from training.config import ConfigError, RunConfig
from training.evaluation import Evaluation


@dataclass(frozen=True)
class Measure:
    """A figure of one task.

    Attributes:
        task: labels or depth.
        key: in the figures of that task, or of its `pooled` and `per_image` figures.
        title: as in the paper.
        higher_is_better: or lower.
        factor: by which the paper multiplies it.
        digits: behind the point.
    """

    task: str
    key: str
    title: str
    higher_is_better: bool
    factor: float = 1.0
    digits: int = 4


LABEL_MEASURES = (
    Measure("labels", "global_accuracy", "G", True, 100, 2),
    Measure("labels", "class_accuracy", "C", True, 100, 2),
    Measure("labels", "mean_iou", "IoU class", True, 100, 2),
)
DEPTH_MEASURES = (
    Measure("depth", "delta1", "γ < 1.25", True),
    Measure("depth", "delta2", "γ < 1.25²", True),
    Measure("depth", "delta3", "γ < 1.25³", True),
    Measure("depth", "abs_rel", "ARD", False),
    Measure("depth", "sq_rel", "SRD", False),
    Measure("depth", "rmse", "RMSE-lin (m)", False),
    Measure("depth", "rmse_log", "RMSE-log", False),
    Measure("depth", "si_log", "SIE", False),
)
WHOLE_GAIN = ("mean_iou", "rmse")  # one of each task


@dataclass(frozen=True)
class Row:
    """A network: the runs of one config that differ by the seed.

    Attributes:
        name: of the runs, without the seed.
        evaluations: of the runs that were done, by seed.
        planned: number of runs that there are to be.
        config: of any of its runs; None where no run was done and nobody says it.
    """

    name: str
    evaluations: tuple[Evaluation, ...] = ()
    planned: int = 1
    config: RunConfig | None = None

    @property
    def described(self) -> RunConfig | None:
        """The config, wherever it is known from."""
        runs = [evaluation.run for evaluation in self.evaluations if evaluation.run is not None]
        return self.config or (runs[0].config if runs else None)

    @property
    def tasks(self) -> frozenset[str]:
        """Of labels and depth, what it predicts; nothing where that is not known."""
        config = self.described
        if config is None:
            return frozenset(task for evaluation in self.evaluations for task in evaluation.figures)
        said = {"labels": config.network.upsampling, "depth": config.network.refining_depth}
        return frozenset(task for task, block in said.items() if block)

    @property
    def features(self) -> str | None:
        """The features network; None where there is none or it is not known."""
        return self.described.network.features if self.described else None

    def values(self, *keys: str) -> list[float]:
        """A figure of each run that has it, see `Evaluation.value`."""
        found = [evaluation.value(*keys) for evaluation in self.evaluations]
        return [value for value in found if value is not None]

    def mean(self, *keys: str) -> float | None:
        """Mean of a figure over the seeds; None without any."""
        values = self.values(*keys)
        return mean(values) if values else None

    def spread(self, *keys: str) -> float | None:
        """Standard deviation (n - 1) of a figure over the seeds; None with fewer than two."""
        values = self.values(*keys)
        return stdev(values) if len(values) > 1 else None


def keys(measure: Measure, part: str = "pooled") -> tuple[str, ...]:
    """Where a measure is in an evaluation; depth is in `part`."""
    return ("labels", measure.key) if measure.task == "labels" else ("depth", part, measure.key)


def row_name(run: str) -> str:
    """The name of a run without the seed behind its last underscore."""
    return re.sub(r"_\d+$", "", run)


def rows_of(runs: Sequence[tuple[str, Evaluation | None]]) -> list[Row]:
    """Rows in the order of the runs' names; a run without an evaluation was not done.

    Raises:
        ConfigError: runs of one name differ by more than the seed, or not all were scored alike.
    """
    scored = [evaluation for _, evaluation in runs if evaluation is not None]
    for what, ways in (
        ("splits", {str(evaluation.split) for evaluation in scored}),
        ("weights", {evaluation.run.weights for evaluation in scored if evaluation.run is not None}),
    ):
        if len(ways) > 1:
            raise ConfigError(f"the runs were scored on different {what} ({', '.join(sorted(ways))})")
    groups: dict[str, list[Evaluation | None]] = {}
    for name, evaluation in runs:
        groups.setdefault(row_name(name), []).append(evaluation)
    rows = []
    for name, found in groups.items():
        done = tuple(evaluation for evaluation in found if evaluation is not None)
        _expect_one_config(name, done)
        rows.append(Row(name, done, planned=len(found)))
    return rows


def _expect_one_config(name: str, evaluations: Sequence[Evaluation]) -> None:
    configs = [evaluation.run.config for evaluation in evaluations if evaluation.run is not None]
    for config in configs[1:]:
        other = differences(config, configs[0])
        if other:
            raise ConfigError(
                f"the runs {name}_... differ by more than the seed: {', '.join(other)}; give them other names"
            )


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """The dotted keys of all values that differ, but for the seed and what does not change what is learnt."""
    left, right = (_flat(config.model_dump(mode="json")) for config in (one, other))
    wanted = sorted({*left, *right} - {"seed", "data.workers", "engine.weights"})
    return [key for key in wanted if left.get(key) != right.get(key)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def baselines(row: Row, rows: Sequence[Row]) -> dict[str, Row]:
    """By task, the first row that predicts this task alone with the same features; nothing for a single-task row."""
    if len(row.tasks) < 2 or row.features is None:
        return {}
    found: dict[str, Row] = {}
    for task in sorted(row.tasks):
        for other in rows:
            if other.tasks == {task} and other.features == row.features:
                found.setdefault(task, other)
    return found


def gain(row: Row, baseline: Row, measure: Measure) -> float | None:
    """Relative gain on a measure, above zero is better; None where one of the two has no figure."""
    value, single = row.mean(*keys(measure)), baseline.mean(*keys(measure))
    if value is None or not single:
        return None
    change = (value - single) / single
    return change if measure.higher_is_better else -change


def gains(row: Row, rows: Sequence[Row]) -> dict[str, float | None]:
    """Relative gain by the measure's key, and of the `whole`."""
    singles = baselines(row, rows)
    found: dict[str, float | None] = {
        measure.key: gain(row, singles[measure.task], measure) if measure.task in singles else None
        for measure in (*LABEL_MEASURES, *DEPTH_MEASURES)
    }
    parts = [found[key] for key in WHOLE_GAIN]
    known = [part for part in parts if part is not None]
    found["whole"] = mean(known) if len(known) == len(parts) else None
    return found


def comparison_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with mean, spread and single values of each measure, and their gains."""
    described = []
    for row in rows:
        measures = {}
        for measure in (*LABEL_MEASURES, *DEPTH_MEASURES):
            values = row.values(*keys(measure))
            if values:
                place = keys(measure)
                measures[measure.key] = {"mean": row.mean(*place), "spread": row.spread(*place), "values": values}
        singles = baselines(row, rows)
        described.append(
            {
                "name": row.name,
                "tasks": sorted(row.tasks),
                "features": row.features,
                "runs": [evaluation.name for evaluation in row.evaluations],
                "planned": row.planned,
                "measures": measures,
                "single_task": {task: single.name for task, single in singles.items()},
                "relative_gain": gains(row, rows) if singles else {},
            }
        )
    return described
