"""Turn a trained run into an engine: ONNX, manifest and model card.

    python -m training.export runs/driving --data DATA --output engines

Before anything is written, the network is run by ONNX Runtime on real validation images and compared with PyTorch, as
exported and again with its weights packed; beyond the stated tolerances it is refused. The figures on the card are
measured on the ONNX file itself.

The node publishes depth and labels both, so a network of one task is no engine: it becomes an ONNX file with the
outputs it has, checked alike, and a `.network.json` with all that a manifest would say of it; nothing opens it as an
engine.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from onnx import load_model_from_string

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import Accuracy, DataSource, Manifest, TrainingRecord
from hybridnet_ros.engine.onnx_engine import OnnxSession
from training.command import add_weights, new_parser, reports
from training.config import RunConfig, Weights
from training.data.sample import Sample
from training.data.sources import open_truth
from training.evaluate import draft_manifest, engine_graph, evaluate, load_weights, scored, summary, torch_engine
from training.evaluation import Trained
from training.failures import find_failures
from training.flicker import flicker
from training.focal import focal
from training.model_card import read_prose, render_card
from training.networks import _timm as timm
from training.onnx_file import PartSession, pack_weights, write_onnx
from training.panel import draw_panel, spread
from training.parity import PACKED_TOLERANCES, TOLERANCES, ParityError, compare
from training.run_folder import RunFolder
from training.scores import passes

PARITY_IMAGES = 12  # of each validation set


def export(run: RunFolder, data: Path, output: Path, weights: Weights | None = None) -> Path:
    """Write `hybridnet_NAME.onnx` of some weights of the run, and what describes it, into `output`.

    Beside an engine, its manifest `.json`, its card `.md` and the card's pictures `.jpg` and `_failures.jpg`; beside a
    network of one task, its `.network.json`.

    Args:
        run: the folder.
        data: the data folder.
        output: folder to write into.
        weights: which of the run's; None: those that its config's engine.weights names.

    Returns:
        the ONNX file.

    Raises:
        ConfigError: what the card says of the network beside its figures is not written yet.
        ParityError: ONNX Runtime and PyTorch differ by more than the tolerances; nothing was written.
    """
    config = run.config
    network, trained = load_weights(run, weights)
    claims = scored(config, config.claims)
    manifest, graph = draft_manifest(config), engine_graph(network, config)
    whole = network.has_depth and network.has_labels
    if whole:
        read_prose(config)  # before minutes are spent on measuring
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / manifest.onnx
        write_onnx(graph, draft, (config.engine.height, config.engine.width))
        exported = draft.read_bytes()
        onnx = pack_weights(load_model_from_string(exported)).SerializeToString()
        manifest = replace(
            manifest,
            onnx_sha256=hashlib.sha256(onnx).hexdigest(),
            training=training_record(trained),
            licence=_licence(trained),
        )

        def runs(content: bytes) -> Engine:
            threads = torch.get_num_threads()
            session = OnnxSession(content, draft, "onnx_cpu", threads) if whole else PartSession(content)
            return Engine(manifest, session)

        reference, samples = torch_engine(network, config), validation_samples(config, data, PARITY_IMAGES)
        with runs(exported) as engine:
            compare(reference, engine, samples, graph.outputs, TOLERANCES)
        with runs(onnx) as engine:
            parity = compare(reference, engine, samples, graph.outputs, PACKED_TOLERANCES)
            figures = evaluate(engine, data, claims)
            if whole:
                if config.claims.sequence:
                    figures["flicker"] = flicker(engine, data, config.claims.sequence)
                if config.claims.sequence or config.claims.depth:
                    figures["focal"] = focal(engine, data, config.claims)
            panel = draw_panel(engine, validation_samples(config, data, 3)) if whole else None
            failures = find_failures(engine, config, data) if whole else []
            worst = draw_panel(engine, [failure.sample for failure in failures]) if whole else None
    manifest = replace(manifest, parity=parity, accuracy=accuracy(config.engine.name, config, figures))
    output.mkdir(parents=True, exist_ok=True)
    target = output / manifest.onnx
    temporary = target.with_suffix(".onnx.tmp")
    temporary.write_bytes(onnx)
    os.replace(temporary, target)
    if panel is None or worst is None:
        _describe_part(manifest, graph.outputs, target.with_suffix(".network.json"))
    else:
        manifest.save(target.with_suffix(".json"))
        write_pictures(target, panel, worst)
        card = render_card(manifest, config, figures, len(onnx), [failure.why for failure in failures])
        target.with_suffix(".md").write_text(card, encoding="utf-8")
    print(summary(figures))
    return target


def write_pictures(onnx: Path, panel: NDArray[np.uint8], failures: NDArray[np.uint8]) -> None:
    """The card's two pictures, `NAME.jpg` and `NAME_failures.jpg`, beside the ONNX file."""
    for path, picture in ((onnx.with_suffix(".jpg"), panel), (onnx.with_name(f"{onnx.stem}_failures.jpg"), failures)):
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])


def _describe_part(manifest: Manifest, outputs: Sequence[str], path: Path) -> None:
    """Write what is known of a network of one task; not under the name of a manifest, which it is not."""
    known = {"outputs": list(outputs), **manifest.to_dict()}
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def validation_samples(config: RunConfig, data: Path, count: int) -> list[Sample]:
    """`count` images for each task that is reported on, by their place alone and not by how they look."""
    samples: list[Sample] = []
    for labels, depth in passes(scored(config, config.claims)):
        truth, tasks = labels or depth, (labels is not None, depth is not None)
        assert truth is not None
        samples += spread(open_truth(truth, data, *tasks), sum(tasks) * count)
    return samples


def training_record(trained: Trained) -> TrainingRecord:
    """Where the weights come from."""
    config, environment = trained.config, trained.environment
    sources = [DataSource(s.path.as_posix(), s.licence, s.origin, s.use) for s in config.data.sources]
    if config.network.weights:
        assert config.network.features is not None
        published = timm.get_pretrained_cfg(config.network.features, allow_unregistered=True)
        licence = (published and published.license) or "as its publisher says"
        origin = f"{config.network.features}, ImageNet-1k"
        sources.append(DataSource(config.network.weights.name, licence, origin, "initial weights"))
    engine = environment.get("init_engine")
    if engine is not None:
        known = {source.name for source in sources}
        use = f"of {engine['network']}, which it started from"
        others = [DataSource(**source) for source in engine["data"] if source["name"] not in known]
        sources += [replace(source, use=f"{source.use}; {use}") for source in others]
    return TrainingRecord(
        data=tuple(sources),
        commit=environment["commit"],
        seed=config.seed,
        steps=trained.step,
        recipe=environment["config"],
        details={
            "weights": trained.weights,
            "batch": config.optimiser.batch,
            "torch": environment["torch"],
            "device": environment["gpu"] or "cpu",
            "changes": environment["changes"],
            "started_from": environment.get("init_sha256"),
            "started_from_blocks": environment.get("init_blocks", []),
            "resumed": environment.get("resumed", []),
        },
    )


def _licence(trained: Trained) -> str:
    """The run's own, and that of the engine that it started from where it is another."""
    own, engine = trained.config.licence, trained.environment.get("init_engine")
    if engine is None or engine["licence"] == own:
        return own
    return f"{own}; it started from {engine['network']}: {engine['licence']}"


def accuracy(name: str, config: RunConfig, figures: dict[str, dict[str, Any]]) -> tuple[Accuracy, ...]:
    """The figures of the manifest of the engine `name`."""
    command = f"python -m training.evaluate {name} --data DATA"
    found: list[Accuracy] = []
    labels, depth = config.claims.labels, config.claims.depth
    if labels is not None and "labels" in figures:
        about = f"{labels.about} ({labels.path})"
        metrics = ("mean_iou", "global_accuracy", "class_accuracy")
        found += [Accuracy(about, metric, figures["labels"][metric], command) for metric in metrics]
    if depth is not None and "depth" in figures:
        about, pooled = f"{depth.about} ({depth.path})", figures["depth"]["pooled"]
        found += [Accuracy(about, metric, pooled[metric], command) for metric in ("abs_rel", "rmse", "delta1")]
    return tuple(found)


@reports(ParityError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("export", __doc__)
    parser.add_argument("run", type=Path, help="the run's folder, e.g. runs/driving")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--output", type=Path, default=Path("engines"), help="where to write (default: %(default)s)")
    add_weights(parser)
    options = parser.parse_args(arguments)
    target = export(RunFolder.open(options.run), options.data, options.output, options.weights)
    if target.with_suffix(".network.json").is_file():
        print(f"wrote {target} and its description; with one task it is no engine, the node wants depth and labels")
    else:
        print(f"wrote {target}, its manifest and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
