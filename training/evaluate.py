"""Accuracy on validation data, always through the code that runs on the robot.

    python -m training.evaluate driving --data DATA
    python -m training.evaluate runs/driving --data DATA --output figures.json

Labels are scored on CamVid's eleven human classes (the network's nineteen are mapped), depth on KITTI's accumulated
LiDAR at the network's own metric scale, capped at 80 m, over the image as a whole: no median scaling, no crop.
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
from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DepthMetrics, SegmentationMetrics
from training.config import ConfigError, RunConfig, ValidationConfig, load_config
from training.data.camvid import CamVid
from training.data.kitti import KittiDepth
from training.data.sample import DataError, Samples
from training.networks import EngineGraph, HybridNet
from training.run_folder import RunFolder

DEPTH_CAP = 80.0  # metres


class TorchSession(ResizingSession):
    """A network in PyTorch, with the post-processing of the exported graph, as an engine's session."""

    runtime = "pytorch"
    description = f"PyTorch {torch.__version__}"

    def __init__(self, network: HybridNet, depth_range: tuple[float, float]) -> None:
        """Take the network as it is; it is run in evaluation mode."""
        self.graph = EngineGraph(network, depth_range).eval()
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> Maps:
        """Depth, labels and confidence [N, H, W] of uint8 [N, H, W, 3]."""
        depth, labels, confidence = self.graph(torch.from_numpy(images).to(self.device))
        return depth.cpu().numpy(), labels.cpu().numpy(), confidence.cpu().numpy()

    def close(self) -> None:
        """Nothing to free."""


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
        labels=LabelSet.from_yaml(share_path("config", "labels", f"{config.data.label_set}.yaml")),
        input=InputSpec(height=engine.height, width=engine.width, multiple=32, pixels=engine.pixels),
        fx=engine.fx,
        depth_range=engine.depth_range,
        beyond=tuple(engine.beyond),
        training=TrainingRecord(data=(), commit="", seed=config.seed, steps=0, recipe=""),
        licence=config.licence,
        accuracy=(),
        parity=Parity(images=0, measured={}, tolerances={}),
    )


def evaluate(engine: Engine, data: Path, validation: ValidationConfig) -> dict[str, dict[str, Any]]:
    """Figures by dataset: `camvid` (G, C, IoU) and `kitti_depth` (the eight depth measures, pooled and per image)."""
    return {
        "camvid": _labels(engine, CamVid(data / validation.camvid)),
        "kitti_depth": _depth(engine, KittiDepth(data / validation.kitti_depth)),
    }


def _labels(engine: Engine, samples: Samples) -> dict[str, Any]:
    camvid = LabelSet.from_yaml(share_path("config", "labels", "camvid11.yaml"))
    to_camvid = camvid.mapping_from(engine.manifest.labels.name)
    metrics = SegmentationMetrics(len(camvid), camvid.ignore)
    for index in tqdm(range(len(samples)), desc="CamVid", unit="image", leave=False, disable=None):
        sample = samples[index]
        labels = engine.predict(sample.image[np.newaxis], sample.fx).labels[0]
        metrics.add(to_camvid[labels], sample.labels)
    return metrics.to_dict(camvid.names)


def _depth(engine: Engine, samples: Samples) -> dict[str, Any]:
    metrics = DepthMetrics(cap=DEPTH_CAP)
    for index in tqdm(range(len(samples)), desc="KITTI", unit="image", leave=False, disable=None):
        sample = samples[index]
        metrics.add(engine.predict(sample.image[np.newaxis], sample.fx).depth[0], sample.depth)
    return {"cap_m": DEPTH_CAP, "pooled": metrics.pooled(), "per_image": metrics.per_image()}


def score(figures: dict[str, dict[str, Any]]) -> float:
    """One number to choose weights by: better labels and better depth both raise it."""
    return figures["camvid"]["mean_iou"] - figures["kitti_depth"]["pooled"]["abs_rel"]


def summary(figures: dict[str, dict[str, Any]]) -> str:
    """The figures that people ask for first, in one line."""
    labels, depth = figures["camvid"], figures["kitti_depth"]["pooled"]
    return (
        f"CamVid mIoU {labels['mean_iou']:.3f}, global {labels['global_accuracy']:.3f} | "
        f"KITTI AbsRel {depth['abs_rel']:.3f}, delta1 {depth['delta1']:.3f}, RMSE {depth['rmse']:.2f} m"
    )


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
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    options = parser.parse_args(arguments)
    try:
        if Path(options.engine).is_dir():
            run = RunFolder.open(Path(options.engine))
            engine = torch_engine(run.load_best(), run.config)
            validation = run.config.validation
        else:
            engine = open_engine(options.engine, options.runtime)
            validation = load_config(options.config).validation
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
