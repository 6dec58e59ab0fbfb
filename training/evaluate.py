"""Accuracy on validation data, always through the code that runs on the robot.

    python -m training.evaluate driving --data DATA
    python -m training.evaluate runs/driving --data DATA --output figures.json
    python -m training.evaluate runs/nyuv2 --data DATA --split test

Labels are scored in the truth's own label set (the driving network's nineteen classes are mapped to CamVid's eleven),
depth at the network's own metric scale, over the image as a whole: no median scaling, no crop. The config says on what,
and up to how many metres. A network of one task is scored on that one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hybridnet_ros.engine import RUNTIMES, EngineError, open_engine
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import InputSpec, Manifest, Parity, TrainingRecord
from hybridnet_ros.engine.session import Maps, ResizingSession
from hybridnet_ros.scene.metrics import DepthMetrics, SegmentationMetrics
from training.config import ConfigError, DepthTruthConfig, RunConfig, TruthConfig, ValidationConfig, load_config
from training.data.label_sets import label_table, read_label_set
from training.data.sample import DataError
from training.data.sources import open_truth
from training.networks import EngineGraph, HybridNet
from training.run_folder import RunFolder


class TorchSession(ResizingSession):
    """A network in PyTorch, with the post-processing of the exported graph, as an engine's session.

    An engine says depth, labels and confidence. What a network of one task does not say is filled with depth 1 m, label
    0 and confidence 0, for nobody to look at: it never leaves training.
    """

    runtime = "pytorch"
    description = f"PyTorch {torch.__version__}"

    def __init__(self, network: HybridNet, depth_range: tuple[float, float]) -> None:
        """Take the network as it is; it is run in evaluation mode."""
        self.graph = EngineGraph(network, depth_range).eval()
        self.device = next(network.parameters()).device

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
    return Engine(draft_manifest(config), TorchSession(network, config.engine.depth_range))


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
        training=TrainingRecord(data=(), commit="", seed=config.seed, steps=0, recipe=""),
        licence=config.licence,
        accuracy=(),
        parity=Parity(images=0, measured={}, tolerances={}),
    )


def scored(config: RunConfig) -> ValidationConfig:
    """What of the config's validation a run's network can be scored on."""
    network, validation = config.network, config.validation
    return ValidationConfig(
        labels=validation.labels if network.upsampling else None,
        depth=validation.depth if network.refining_depth else None,
    )


def _on_split(validation: ValidationConfig, split: str) -> ValidationConfig:
    changes = {"split": split}
    return ValidationConfig(
        labels=validation.labels and validation.labels.model_copy(update=changes),
        depth=validation.depth and validation.depth.model_copy(update=changes),
    )


def evaluate(engine: Engine, data: Path, validation: ValidationConfig) -> dict[str, dict[str, Any]]:
    """Figures by task: `labels` (G, C, IoU) and `depth` (the eight depth measures, pooled and per image)."""
    figures = {}
    if validation.labels is not None:
        figures["labels"] = _labels(engine, data, validation.labels)
    if validation.depth is not None:
        figures["depth"] = _depth(engine, data, validation.depth)
    return figures


def _labels(engine: Engine, data: Path, truth: TruthConfig) -> dict[str, Any]:
    samples = open_truth(truth, data, labels=True, depth=False)
    if samples.label_set is None:
        raise ConfigError(f"validation.labels: {truth.kind} has no labels")
    own, label_set = engine.manifest.labels, read_label_set(samples.label_set)
    # To the truth's classes where the network's can be told from them, else the truth to the network's.
    table, truth_table = None, None
    if own.name in label_set.mappings:
        table = label_set.mapping_from(own.name)
    else:
        truth_table, label_set = label_table(own, label_set.name), own
    metrics = SegmentationMetrics(len(label_set), label_set.ignore)
    for index in tqdm(range(len(samples)), desc="labels", unit="image", leave=False, disable=None):
        sample = samples[index]
        if sample.labels is None:
            continue
        found = engine.predict(sample.image[np.newaxis], sample.fx).labels[0]
        metrics.add(
            found if table is None else table[found],
            sample.labels if truth_table is None else truth_table[sample.labels],
        )
    return metrics.to_dict(label_set.names)


def _depth(engine: Engine, data: Path, truth: DepthTruthConfig) -> dict[str, Any]:
    samples = open_truth(truth, data, labels=False, depth=True)
    metrics = DepthMetrics(cap=truth.cap)
    for index in tqdm(range(len(samples)), desc="depth", unit="image", leave=False, disable=None):
        sample = samples[index]
        if sample.depth is not None:
            metrics.add(engine.predict(sample.image[np.newaxis], sample.fx).depth[0], sample.depth)
    return {"cap_m": truth.cap, "pooled": metrics.pooled(), "per_image": metrics.per_image()}


def score(figures: dict[str, dict[str, Any]]) -> float:
    """One number to choose weights by: better labels and better depth both raise it."""
    labels = figures["labels"]["mean_iou"] if "labels" in figures else 0.0
    return float(labels - (figures["depth"]["pooled"]["abs_rel"] if "depth" in figures else 0.0))


def summary(figures: dict[str, dict[str, Any]]) -> str:
    """The figures that people ask for first, in one line."""
    parts = []
    if "labels" in figures:
        labels = figures["labels"]
        parts.append(f"labels: mIoU {labels['mean_iou']:.3f}, global {labels['global_accuracy']:.3f}")
    if "depth" in figures:
        depth = figures["depth"]["pooled"]
        parts.append(f"depth: AbsRel {depth['abs_rel']:.3f}, delta1 {depth['delta1']:.3f}, RMSE {depth['rmse']:.2f} m")
    return " | ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "engine", help="an engine's name, an .onnx file, or a run folder (its best weights, in PyTorch)"
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("training/configs/driving.yaml"),
        help="names the validation folders (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime", default="auto", choices=RUNTIMES, help="what runs an engine (default: %(default)s)"
    )
    parser.add_argument("--split", help="score on this split of the datasets, e.g. test, in place of the config's")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    options = parser.parse_args(arguments)
    try:
        if Path(options.engine).is_dir():
            run = RunFolder.open(Path(options.engine))
            engine = torch_engine(run.load_best(), run.config)
            validation = scored(run.config)
        else:
            engine = open_engine(options.engine, options.runtime)
            validation = load_config(options.config).validation
        if options.split:
            validation = _on_split(validation, options.split)
        figures = evaluate(engine, options.data, validation)
    except (ConfigError, DataError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary(figures))
    if options.output:
        options.output.write_text(json.dumps({"engine": engine.description, **figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
