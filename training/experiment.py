r"""An experiment: variants of one recipe and several seeds, trained, scored and written up by one command.

    python -m training.experiment training/experiments/nyuv2_reduced --data DATA --runs runs/nyuv2_reduced
    python -m training.experiment training/experiments/nyuv2_reduced --data DATA --runs runs/nyuv2_reduced \
        --train hybridnet_2 labels_only_2
    python -m training.experiment training/experiments/nyuv2_reduced

The folder holds experiment.yaml, which says what the runs are, and page.md.j2, the page's words. What is not trained
yet is trained, what was stopped goes on where it was; Ctrl-C stops with a checkpoint. Then finished runs are scored,
and the folder gets what `python -m training.compare` writes, with README.md made of page.md.j2: every number in it is
taken from the evaluations, and a run that is not finished is an empty cell. --train with names trains only those runs,
without names none. Without --data only the page is written anew, from the evaluations in the folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from training.command import add_device, new_parser, reports
from training.compare import FIGURE, Settings, draw, evaluations, write_comparison
from training.comparison import Row, gains, row_name, rows_of
from training.config import ConfigError, Weights, load_config
from training.evaluation import Evaluation
from training.planned_run import PlannedRun
from training.tables import FORMULAS, about, all_tables
from training.tiles import WHOLE, Grid


class ExperimentConfig(BaseModel):
    """experiment.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Path  # relative to the experiment's folder
    split: str | None = None  # that is scored on, in place of the recipe's
    weights: Weights = "best"  # as for `training.evaluate --weights`
    tiles: tuple[int, int] | None = None  # columns and rows, to score images in tiles as well
    seeds: list[int]
    changes: list[str] = []  # KEY=VALUE, of every run
    variants: dict[str, list[str]]  # name: KEY=VALUE, of its runs
    drawn: list[str] | None = None  # variants in the figure, null: all

    @model_validator(mode="after")
    def _known(self) -> "ExperimentConfig":
        unknown = set(self.drawn or ()) - set(self.variants)
        if unknown:
            raise ValueError(f"drawn: there is no variant {', '.join(sorted(unknown))}")
        return self


def read_experiment(folder: Path) -> tuple[ExperimentConfig, list[PlannedRun]]:
    """experiment.yaml, and the runs that it describes.

    Raises:
        ConfigError: it cannot be read, or describes no runs; names the keys that are wrong.
    """
    path = folder / "experiment.yaml"
    try:
        experiment = ExperimentConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, pydantic.ValidationError) as error:
        raise ConfigError(f"{path} describes no experiment: {error}") from error
    recipe = folder / experiment.recipe
    runs = []
    for seed in experiment.seeds:
        for variant, changes in experiment.variants.items():
            every = (f"seed={seed}", *experiment.changes, *changes)
            runs.append(PlannedRun(f"{variant}_{seed}", recipe, every, load_config(recipe, every)))
    return experiment, runs


def results(runs: Sequence[PlannedRun], done: Sequence[Path], settings: Settings) -> list[Row]:
    """A row for each variant: the runs in the folders `done`, and those whose evaluations were kept from earlier."""
    folders = {path.name: path for path in done}
    paths = [folders.get(run.name, settings.kept / f"{run.name}.json") for run in runs]
    found = dict(evaluations([path for path in paths if path.exists()], settings))
    for run in runs:
        evaluation = found.get(run.name)
        if evaluation is not None and evaluation.run is not None:
            run.expect(evaluation.run.config, settings.kept / f"{run.name}.json")
    every: list[tuple[str, Evaluation | None]] = [(run.name, found.get(run.name)) for run in runs]
    configs = {row_name(run.name): run.config for run in runs}
    return [replace(row, config=configs[row.name]) for row in rows_of(every)]


def write_page(template: Path, experiment: ExperimentConfig, runs: Sequence[PlannedRun], rows: Sequence[Row]) -> str:
    """The page in Markdown.

    `template` is given `experiment`, `runs`, `rows`, `row` and `gains` (by name), `tables` (by heading), `about`,
    `formulas` and the `figure`'s path.

    Raises:
        ConfigError: it cannot be read, or asks for what there is not.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    try:
        return environment.from_string(template.read_text(encoding="utf-8")).render(
            experiment=experiment,
            runs=runs,
            rows=rows,
            row={row.name: row for row in rows},
            gains={row.name: gains(row, rows) for row in rows},
            tables=all_tables(rows),
            about=about(rows),
            figure=FIGURE,
            formulas=FORMULAS,
        )
    except (OSError, jinja2.TemplateError) as error:
        raise ConfigError(f"{template} makes no page: {error}") from error


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("experiment", __doc__)
    parser.add_argument("experiment", type=Path, help="its folder, e.g. training/experiments/nyuv2_reduced")
    parser.add_argument("--data", type=Path, help="the data folder")
    parser.add_argument("--runs", type=Path, help="folder of the runs' folders")
    parser.add_argument("--train", nargs="*", metavar="VARIANT_SEED", help="train these runs only")
    add_device(parser)
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.runs is None):
        parser.error("--data and --runs go together: training and scoring need both")
    experiment, runs = read_experiment(options.experiment)
    unknown = set(options.train or ()) - {run.name for run in runs}
    if unknown:
        raise ConfigError(f"--train: there is no run {', '.join(sorted(unknown))} in the experiment")
    done = []
    for run in runs if options.runs is not None else ():
        folder, wanted = options.runs / run.name, options.train is None or run.name in options.train
        if not run.finished(folder) and wanted and not run.train(folder, options.data, options.device):
            return 1
        if run.finished(folder):
            done.append(folder)
    grid = Grid(*experiment.tiles) if experiment.tiles else WHOLE
    kept = options.experiment / "runs"
    settings = Settings(options.data, kept, experiment.split, grid, options.device, experiment.weights)
    rows = results(runs, done, settings)
    drawn = experiment.variants if experiment.drawn is None else experiment.drawn
    draw([path for path in done if row_name(path.name) in drawn], settings, options.experiment)
    page = write_page(options.experiment / "page.md.j2", experiment, runs, rows)
    write_comparison(rows, page, options.experiment)
    print(f"wrote {options.experiment / 'README.md'}: {sum(len(row.evaluations) for row in rows)} of {len(runs)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
