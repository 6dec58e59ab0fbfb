"""Turn a trained run into an engine: ONNX, manifest and model card.

    python -m training.export runs/driving --data DATA --output engines

Before anything is written, the ONNX file is run by ONNX Runtime on real validation images and compared with PyTorch;
beyond the stated tolerances it is refused. The figures on the card are measured on the ONNX file itself.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from hybridnet_ros.engine import EngineError, Prediction
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import Accuracy, DataSource, Manifest, Parity, TrainingRecord
from hybridnet_ros.engine.onnx_engine import OnnxSession
from training.config import ConfigError, RunConfig
from training.data.camvid import CamVid
from training.data.kitti import KittiDepth
from training.data.sample import DataError, Sample, Samples
from training.evaluate import draft_manifest, evaluate, score, summary, torch_engine
from training.model_card import render_card
from training.networks import EngineGraph
from training.panel import draw_panel
from training.run_folder import RunFolder

# TensorRT 8.6 (JetPack 6.0) reads no later one.
OPSET = 17
PARITY_IMAGES = 12  # of each validation set

TOLERANCES = {
    "labels_disagreement": 0.001,  # share of pixels
    "depth_abs_rel": 0.001,  # mean over pixels of |difference| / PyTorch's depth
    "depth_max_rel": 0.05,
    "confidence_difference": 0.5,  # mean, of 255
    "depth_non_finite": 0,  # pixels
}


class ParityError(Exception):
    """The ONNX file does not do what the network does; nothing was written."""


def export(run: RunFolder, data: Path, output: Path) -> Manifest:
    """Write `hybridnet_NAME.onnx`, its manifest `.json`, its card `.md` and a picture `.jpg` into `output`.

    Raises:
        ParityError: ONNX Runtime and PyTorch differ by more than TOLERANCES.
    """
    config = run.config
    network = run.load_best()
    manifest = draft_manifest(config)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / manifest.onnx
        write_onnx(EngineGraph(network, config.engine.depth_range), draft, (config.engine.height, config.engine.width))
        onnx = draft.read_bytes()
        manifest = replace(
            manifest,
            onnx_sha256=hashlib.sha256(onnx).hexdigest(),
            training=training_record(run),
            licence=config.licence,
        )
        with Engine(manifest, OnnxSession(onnx, draft, "onnx_cpu", torch.get_num_threads())) as engine:
            parity = compare(torch_engine(network, config), engine, parity_samples(config, data))
            figures = evaluate(engine, data, config.validation)
            panel = draw_panel(engine, panel_samples(config, data))
    manifest = replace(manifest, parity=parity, accuracy=accuracy(config.engine.name, config, figures))
    output.mkdir(parents=True, exist_ok=True)
    target = output / manifest.onnx
    temporary = target.with_suffix(".onnx.tmp")
    temporary.write_bytes(onnx)
    os.replace(temporary, target)
    manifest.save(target.with_suffix(".json"))
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 85]
    cv2.imwrite(str(target.with_suffix(".jpg")), cv2.cvtColor(panel, cv2.COLOR_RGB2BGR), jpeg)
    target.with_suffix(".md").write_text(render_card(manifest, config, figures, len(onnx)), encoding="utf-8")
    print(summary(figures))
    return manifest


def write_onnx(graph: nn.Module, path: Path, size: tuple[int, int]) -> None:
    """Export with dynamic batch and image size; `size` (height, width) is only what the graph is traced with."""
    image = torch.zeros((1, *size, 3), dtype=torch.uint8)
    outputs = ("depth", "labels", "confidence")
    with warnings.catch_warnings():
        # This exporter is the one that writes opset 17; it says at every call that a newer one exists.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            graph.eval(),
            (image,),
            str(path),
            input_names=["image"],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_axes={name: {0: "batch", 1: "height", 2: "width"} for name in ("image", *outputs)},
            dynamo=False,
        )


def parity_samples(config: RunConfig, data: Path) -> list[Sample]:
    """Images of both validation sets, evenly spread."""
    return _spread(KittiDepth(data / config.validation.kitti_depth), PARITY_IMAGES) + _spread(
        CamVid(data / config.validation.camvid), PARITY_IMAGES
    )


def panel_samples(config: RunConfig, data: Path) -> list[Sample]:
    """The images of the card's picture: of both validation sets, by their place alone and not by how they look."""
    return _spread(KittiDepth(data / config.validation.kitti_depth), 3) + _spread(
        CamVid(data / config.validation.camvid), 2
    )


def _spread(dataset: Samples, count: int) -> list[Sample]:
    """At most `count` samples, evenly spread, the first and the last left out where there are enough."""
    positions = np.linspace(0, len(dataset) - 1, count + 2)[1:-1].round().astype(int)
    return [dataset[int(index)] for index in np.unique(positions)]


def compare(reference: Engine, candidate: Engine, samples: Sequence[Sample]) -> Parity:
    """How far `candidate` is from `reference`; ParityError lists everything that is beyond its tolerance."""
    return measure_parity(reference, candidate, samples, TOLERANCES)


def measure_parity(
    reference: Engine, candidate: Engine, samples: Sequence[Sample], tolerances: Mapping[str, float]
) -> Parity:
    """As `compare`, within tolerances of the caller's own."""
    differences: list[dict[str, float]] = []
    for sample in samples:
        image = sample.image[np.newaxis]
        differences.append(_difference(reference.predict(image, sample.fx), candidate.predict(image, sample.fx)))
    measured = {
        key: float((np.max if key in ("depth_max_rel", "depth_non_finite") else np.mean)([d[key] for d in differences]))
        for key in tolerances
    }
    beyond = [
        f"{k} is {v:.3g}, at most {tolerances[k]:.3g} allowed" for k, v in measured.items() if not v <= tolerances[k]
    ]
    if beyond:
        raise ParityError(f"{candidate.manifest.network} differs from what it was made of: " + "; ".join(beyond))
    return Parity(images=len(samples), measured=measured, tolerances=dict(tolerances))


def _difference(expected: Prediction, found: Prediction) -> dict[str, float]:
    relative = np.abs(found.depth - expected.depth) / expected.depth
    return {
        "labels_disagreement": float(np.mean(found.labels != expected.labels)),
        "depth_abs_rel": float(np.mean(relative)),
        "depth_max_rel": float(np.max(relative)),
        "confidence_difference": float(np.mean(np.abs(found.confidence.astype(int) - expected.confidence))),
        "depth_non_finite": float(np.sum(~np.isfinite(found.depth))),
    }


def training_record(run: RunFolder) -> TrainingRecord:
    """Where the weights come from."""
    config, environment = run.config, run.environment()
    sources = [DataSource(s.path.as_posix(), s.licence, s.origin, s.use) for s in config.data.sources]
    if config.network.weights:
        name = config.network.weights.name
        sources.append(
            DataSource(name, "Apache-2.0", f"timm {config.network.features}, ImageNet-1k", "initial weights")
        )
    best = max(run.metrics(), key=score)
    return TrainingRecord(
        data=tuple(sources),
        commit=environment["commit"],
        seed=config.seed,
        steps=best["step"],
        recipe=f"training/configs/{config.engine.name}.yaml",
        details={
            "batch": config.optimiser.batch,
            "torch": environment["torch"],
            "device": environment["gpu"] or "cpu",
            "resumed": environment.get("resumed", []),
        },
    )


def accuracy(name: str, config: RunConfig, figures: dict[str, dict[str, Any]]) -> tuple[Accuracy, ...]:
    """The figures of the manifest of the engine `name`."""
    command = f"python -m training.evaluate {name} --data DATA"
    labels, depth = figures["camvid"], figures["kitti_depth"]["pooled"]
    camvid, kitti = f"CamVid val, 11 classes ({config.validation.camvid})", f"KITTI ({config.validation.kitti_depth})"
    return (
        *(Accuracy(camvid, name, labels[name], command) for name in ("mean_iou", "global_accuracy", "class_accuracy")),
        *(Accuracy(kitti, name, depth[name], command) for name in ("abs_rel", "rmse", "delta1")),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's folder, e.g. runs/driving")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--output", type=Path, default=Path("engines"), help="where to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        manifest = export(RunFolder.open(options.run), options.data, options.output)
    except (ConfigError, DataError, EngineError, ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.output / manifest.onnx}, its manifest and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
