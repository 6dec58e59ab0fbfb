"""Several runs side by side: tables 1 and 2 in the paper's form, and what each gains over the single-task runs.

    python -m training.compare runs/hybridnet_1 runs/hybridnet_2 runs/labels_1 runs/depth_1 --data DATA --output results
    python -m training.compare results/runs/*.json --output results

A run is a folder, or the JSON that `python -m training.evaluate --output` or an earlier comparison wrote of it. Runs
whose names differ only by a number behind the last underscore, and whose configs differ only by the seed, are one row:
mean and standard deviation. A run that is not there yet is an empty cell. Each network of two tasks is set against the
runs that do one of them with the same features network.

Written to --output: README.md (the tables), comparison.json, figure.png (image, depth and labels of each network beside
the truth, of the first seed) and runs/NAME.json, an evaluation for each run, which the next comparison takes over
while the weights are the same. Folders that must be evaluated need --data.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from training.command import add_device, add_scoring, new_parser, reports
from training.comparison import Row, comparison_json, row_name, rows_of
from training.config import ConfigError, Weights
from training.cost import measure_costs
from training.evaluate import evaluate_run, load_weights, on_split, scored, torch_engine
from training.evaluation import Evaluation, weights_sha256
from training.networks import HybridNet
from training.panel import Viewer, draw_figure, write_picture
from training.run_folder import RunFolder
from training.tables import comparison_page
from training.tiles import WHOLE, Grid

FIGURE = "figure.png"


@dataclass(frozen=True)
class Settings:
    """How runs are evaluated.

    Attributes:
        data: the data folder; None: only what is evaluated already.
        kept: folder of the evaluations.
        split: of the datasets, in place of the configs'.
        grid: of the tiles.
        device: cpu or cuda.
        weights: which of each run's; None: those that its engine is made of.
    """

    data: Path | None
    kept: Path
    split: str | None = None
    grid: Grid = WHOLE
    device: str = "cpu"
    weights: Weights | None = None


def evaluations(runs: Sequence[Path], settings: Settings) -> list[tuple[str, Evaluation | None]]:
    """The evaluation of each run by its name, kept or new; None of a run that is not there yet.

    Where one is new, the time for an image is measured anew for all folders, in turns, and so can be compared.

    Raises:
        ConfigError: a run must be evaluated and there is no data folder, or a file is no evaluation.
        DataError: a folder or file of the data is missing.
    """
    found: dict[str, Evaluation | None] = {}
    folders: dict[str, RunFolder] = {}
    new = False
    for path in runs:
        if path.suffix == ".json":
            given = Evaluation.load(path)
            if given.name in found:
                raise ConfigError(f"{path}: there is another run called {given.name}, runs are told apart by it")
            found[given.name] = given
            continue
        name = path.resolve().name
        if name in found:
            raise ConfigError(f"{path}: there is another run called {name}: rename a folder, runs are told apart by it")
        found[name] = None
        if (path / "best.safetensors").is_file():
            folders[name] = RunFolder.open(path)
            found[name] = _kept(folders[name], settings)
            if found[name] is None:
                found[name], new = _evaluate(folders[name], settings), True
    if new:
        networks = [(_network(run, settings), run.config.engine) for run in folders.values()]
        for name, cost in zip(folders, measure_costs(networks, list(folders)), strict=True):
            evaluated = found[name]
            assert evaluated is not None
            found[name] = replace(evaluated, cost=cost)
    for name, evaluation in found.items():
        if evaluation is not None:
            evaluation.save(settings.kept / f"{name}.json")
    return list(found.items())


def _kept(run: RunFolder, settings: Settings) -> Evaluation | None:
    """The evaluation that was kept of these very weights on this split; None without."""
    path = settings.kept / f"{run.path.resolve().name}.json"
    if not path.is_file():
        return None
    kept = Evaluation.load(path)
    grid = Grid(*kept.tiles["grid"]) if kept.tiles else WHOLE
    known = kept.run and (kept.run.weights, kept.run.sha256)
    weights = settings.weights or run.config.engine.weights
    same = known == (weights, weights_sha256(run, weights))
    return kept if same and (kept.split, grid) == (settings.split, settings.grid) else None


def _evaluate(run: RunFolder, settings: Settings) -> Evaluation:
    if settings.data is None:
        raise ConfigError(f"{run.path} is not evaluated yet: say with --data where the data folder is")
    network, trained = load_weights(run, settings.weights)
    with torch_engine(network.to(settings.device), run.config) as engine:
        return evaluate_run(run, engine, trained, settings.data, settings.split, settings.grid)


def _network(run: RunFolder, settings: Settings) -> HybridNet:
    return load_weights(run, settings.weights)[0].to(settings.device)


def draw(runs: Sequence[Path], settings: Settings, output: Path) -> bool:
    """The figure of the first seed of each network whose folder is there; False where there is none."""
    folders = {row_name(path.resolve().name): path for path in reversed(runs) if (path / "best.safetensors").is_file()}
    if not folders or settings.data is None:
        return False
    with ExitStack() as stack:
        viewers = []
        for name, path in reversed(folders.items()):
            run = RunFolder.open(path)
            engine = stack.enter_context(torch_engine(_network(run, settings), run.config))
            validation = scored(run.config)
            tasks = frozenset(task for task in ("labels", "depth") if getattr(validation, task))
            viewers.append(Viewer(name, engine, tasks))
        wanted = RunFolder.open(next(iter(folders.values()))).config.validation
        write_picture(output / FIGURE, draw_figure(viewers, on_split(wanted, settings.split), settings.data))
    return True


def write_comparison(rows: Sequence[Row], page: str, output: Path) -> None:
    """comparison.json and the page README.md in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(comparison_json(rows), indent=2, ensure_ascii=False)
    (output / "comparison.json").write_text(text + "\n", encoding="utf-8")
    (output / "README.md").write_text(page, encoding="utf-8")


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("compare", __doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder or its evaluation's JSON")
    parser.add_argument("--data", type=Path, help="the data folder, where a run must be evaluated")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where to write")
    add_scoring(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    settings = Settings(
        options.data, options.output / "runs", options.split, options.tiles, options.device, options.weights
    )
    rows = rows_of(evaluations(options.runs, settings))
    drawn = draw(options.runs, settings, options.output) or (options.output / FIGURE).is_file()
    page = comparison_page(rows, FIGURE if drawn else None)
    write_comparison(rows, page, options.output)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
