"""Accuracy on validation data, always through the code that runs on the robot.

    python -m training.evaluate driving --data DATA
    python -m training.evaluate runs/driving --data DATA --output figures/driving.json
    python -m training.evaluate runs/nyuv2 --data DATA --split test
    python -m training.evaluate runs/driving --data DATA --weights average
    python -m training.evaluate runs/hybridnet --data DATA --tiles

Labels are scored in the truth's own label set (the driving network's nineteen classes are mapped to CamVid's eleven),
depth at the network's own metric scale, over the image as a whole: no median scaling, no crop. The config says on what,
and up to how many metres: an engine is scored on what it reports, a run on what its weights were chosen by. Depth to
80 m and of any distance is in the JSON too. A network of one task is scored on that one. --tiles scores the paper's way
as well: each image cut into 18 tiles, 6 x 3, each seen by itself.

--output writes all figures as JSON and beside it the tables (.md) and a panel of some images (.png). Of a run's folder
the JSON also has parameters, MACs and time for an image; of an engine `hybridnet benchmark engine` measures those.
`python -m training.compare` sets several runs side by side.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hybridnet_ros.engine import RUNTIMES, open_engine
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import InputSpec, Manifest, Parity, TrainingRecord
from hybridnet_ros.engine.session import Maps, ResizingSession
from training.command import add_config_of_engine, add_device, add_scoring, config_of_engine, new_parser, reports
from training.comparison import Row
from training.config import DepthTruthConfig, RunConfig, TruthConfig, ValidationConfig, Weights
from training.cost import measure_costs
from training.data.label_sets import favoured, read_label_set
from training.data.sources import open_truth
from training.evaluation import Evaluation, Figures, Trained, weights_sha256
from training.networks import EngineGraph, HybridNet
from training.panel import Viewer, draw_figure, write_picture
from training.run_folder import RunFolder
from training.scores import DepthScores, LabelScores, passes
from training.tables import comparison_page
from training.tiles import WHOLE, Grid, predict


class TorchSession(ResizingSession):
    """A network in PyTorch, with the post-processing of the exported graph, as an engine's session.

    An engine says depth, labels and confidence. What a network of one task does not say is filled with depth 1 m, label
    0 and confidence 0, for nobody to look at: it never leaves training.
    """

    runtime = "pytorch"
    description = f"PyTorch {torch.__version__}"

    def __init__(self, graph: EngineGraph) -> None:
        """Take the graph as it is; it is run in evaluation mode."""
        self.graph = graph.eval()
        self.device = next(graph.parameters()).device

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> Maps:
        """Depth, labels and confidence [N, H, W] of uint8 [N, H, W, 3]."""
        outputs = self.graph(torch.from_numpy(images).to(self.device))
        return filled(dict(zip(self.graph.outputs, (x.cpu().numpy() for x in outputs), strict=True)), images)

    def close(self) -> None:
        """Nothing to free."""


def filled(outputs: dict[str, NDArray[Any]], images: NDArray[np.uint8]) -> Maps:
    """Depth, labels and confidence of a network that may say less; see `TorchSession`."""
    shape = images.shape[:3]
    nothing = np.zeros(shape, np.uint8)
    return (
        outputs.get("depth", np.ones(shape, np.float32)),
        outputs.get("labels", nothing),
        outputs.get("confidence", nothing.copy()),
    )


def torch_engine(network: HybridNet, config: RunConfig) -> Engine:
    """The network as an engine, for evaluation before it is exported."""
    return Engine(draft_manifest(config), TorchSession(engine_graph(network, config)))


def engine_graph(network: HybridNet, config: RunConfig) -> EngineGraph:
    """The network with the post-processing that its run's config wants, on the network's device."""
    graph = EngineGraph(network, config.engine.depth_range, favoured(config))
    return graph.to(next(network.parameters()).device)


def draft_manifest(config: RunConfig) -> Manifest:
    """What an engine of this run promises, before there is an ONNX file and figures."""
    engine = config.engine
    return Manifest(
        network=f"hybridnet_{engine.name}",
        onnx=f"hybridnet_{engine.name}.onnx",
        onnx_sha256="",
        labels=read_label_set(config.data.label_set),
        input=InputSpec(height=engine.height, width=engine.width, multiple=32, pixels=engine.pixels),
        fx=engine.fx,
        depth_range=engine.depth_range,
        beyond=tuple(engine.beyond),
        shown_depth=engine.shown_depth,
        training=TrainingRecord(data=(), commit="", seed=config.seed, steps=0, recipe=""),
        licence=config.licence,
        accuracy=(),
        parity=Parity(images=0, measured={}, tolerances={}),
    )


def scored(config: RunConfig, validation: ValidationConfig | None = None) -> ValidationConfig:
    """What of `validation`, by default the config's, a run's network can be scored on."""
    network, validation = config.network, validation or config.validation
    return ValidationConfig(
        labels=validation.labels if network.upsampling else None,
        depth=validation.depth if network.refining_depth else None,
    )


def on_split(validation: ValidationConfig, split: str | None) -> ValidationConfig:
    """The same datasets, of another split; None leaves the config's."""
    if split is None:
        return validation
    changes = {"split": split}
    return ValidationConfig(
        labels=validation.labels and validation.labels.model_copy(update=changes),
        depth=validation.depth and validation.depth.model_copy(update=changes),
    )


def evaluate(engine: Engine, data: Path, validation: ValidationConfig, grid: Grid = WHOLE) -> Figures:
    """Figures by task: `labels` (G, C, IoU) and `depth` (the eight depth measures, pooled and per image).

    With a `grid` each image is seen in tiles.
    """
    figures: Figures = {}
    for labels, depth in passes(validation):
        figures |= _score(engine, data, labels, depth, grid)
    return figures


def _score(
    engine: Engine, data: Path, labels: TruthConfig | None, depth: DepthTruthConfig | None, grid: Grid
) -> Figures:
    """Figures of the tasks that have a truth; both truths are of one dataset where there are two."""
    truth = labels or depth
    assert truth is not None
    samples = open_truth(truth, data, labels=labels is not None, depth=depth is not None)
    scores: dict[str, LabelScores | DepthScores] = {}
    if labels is not None:
        scores["labels"] = LabelScores(engine.manifest.labels, samples)
    if depth is not None:
        scores["depth"] = DepthScores(depth.cap)
    for index in tqdm(range(len(samples)), desc=" and ".join(scores), unit="image", leave=False, disable=None):
        sample = samples[index]
        if any(each.wants(sample) for each in scores.values()):
            prediction = predict(engine, sample.image, sample.fx, grid)
            for each in scores.values():
                each.add(prediction, sample)
    about = f"{truth.path}{f', {truth.split}' if truth.split else ''}"
    return {task: {"data": about, "images": each.images, **each.figures()} for task, each in scores.items()}


def score(figures: Figures) -> float:
    """One number to choose weights by: better labels and better depth both raise it."""
    labels = figures["labels"]["mean_iou"] if "labels" in figures else 0.0
    return float(labels - (figures["depth"]["pooled"]["abs_rel"] if "depth" in figures else 0.0))


def summary(figures: Figures) -> str:
    """The figures that people ask for first, in one line."""
    parts = []
    if "labels" in figures:
        labels = figures["labels"]
        parts.append(f"labels: mIoU {labels['mean_iou']:.3f}, global {labels['global_accuracy']:.3f}")
    if "depth" in figures:
        depth = figures["depth"]["pooled"]
        parts.append(f"depth: AbsRel {depth['abs_rel']:.3f}, delta1 {depth['delta1']:.3f}, RMSE {depth['rmse']:.2f} m")
    return " | ".join(parts)


def evaluate_run(
    run: RunFolder, engine: Engine, trained: Trained, data: Path, split: str | None = None, grid: Grid = WHOLE
) -> Evaluation:
    """The run on its validation data, or on another split of them; with a `grid` in tiles as well.

    Args:
        run: the folder.
        engine: of the run's weights.
        trained: which those are.
        data: the data folder.
        split: of the datasets.
        grid: of the tiles.

    Raises:
        ConfigError: there is no such split.
        DataError: a folder or file of the data is missing.
    """
    evaluation = evaluate_engine(run.path.resolve().name, engine, scored(run.config), data, split, grid)
    return replace(evaluation, run=trained)


def load_weights(run: RunFolder, weights: Weights | None = None) -> tuple[HybridNet, Trained]:
    """The network on the CPU, in evaluation mode, with some weights of its run, and which they are.

    Args:
        run: the folder.
        weights: None: those that its engine is made of.

    Raises:
        ConfigError: the run has none yet.
    """
    weights = weights or run.config.engine.weights
    if weights == "best":
        network = run.load_best()
        step = max(run.metrics(), key=score)["step"]
    else:  # of a run that has not been validated, too
        state = run.load_state()
        average = {name.removeprefix("module."): value for name, value in state["average"].items()}
        average.pop("n_averaged", None)  # of torch's AveragedModel, not of the network
        network = run.network_of(average if weights == "average" else state["network"])
        step = state["step"]
    return network, Trained(run.config, weights, step, weights_sha256(run, weights), run.environment())


def evaluate_engine(
    name: str, engine: Engine, validation: ValidationConfig, data: Path, split: str | None = None, grid: Grid = WHOLE
) -> Evaluation:
    """As `evaluate_run`, of an engine by its `name`."""
    validation = on_split(validation, split)
    figures = evaluate(engine, data, validation)
    tiles = {"grid": list(grid), **evaluate(engine, data, validation, grid)} if grid != WHOLE else None
    return Evaluation(name, engine.description, split, figures, tiles)


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("evaluate", __doc__)
    parser.add_argument("engine", help="an engine's name, an .onnx file, or a run folder (its weights, in PyTorch)")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    add_config_of_engine(parser, "names the validation folders of an engine; a run's folder has its own")
    parser.add_argument(
        "--runtime", default="auto", choices=RUNTIMES, help="what runs an engine (default: %(default)s)"
    )
    add_device(parser, "what runs a run's weights")
    add_scoring(parser)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write all figures, tables and a panel")
    options = parser.parse_args(arguments)
    if Path(options.engine).is_dir():
        run = RunFolder.open(Path(options.engine))
        network, trained = load_weights(run, options.weights)
        engine, validation = torch_engine(network.to(options.device), run.config), scored(run.config)
        evaluation = evaluate_run(run, engine, trained, options.data, options.split, options.tiles)
        evaluation = replace(evaluation, cost=measure_costs([(network, run.config.engine)])[0])
    else:
        engine = open_engine(options.engine, options.runtime)
        validation = config_of_engine(options.config, engine.manifest).claims
        name = Path(options.engine).stem
        evaluation = evaluate_engine(name, engine, validation, options.data, options.split, options.tiles)
    print(summary(evaluation.figures))
    if options.output:
        evaluation.save(options.output)
        tables = comparison_page([Row(evaluation.name, (evaluation,))])
        options.output.with_suffix(".md").write_text(tables, encoding="utf-8")
        viewer = Viewer(evaluation.name, engine, frozenset(evaluation.figures))
        figure = draw_figure([viewer], on_split(validation, options.split), options.data)
        write_picture(options.output.with_suffix(".png"), figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
