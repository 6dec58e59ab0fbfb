"""Turn a float32 engine into one in 8 bits for processors: ONNX, manifest and model card.

    python -m training.quantize driving --data DATA --output engines

The scales come from training images. Both engines are then measured on what the engine's figures are of, and one that
loses more than LIMITS is refused. TensorRT has no use for this file: `hybridnet build-engine` makes its own of the
float32 engine.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import Engine, Manifest, load_manifest, open_engine
from hybridnet_ros.engine.engine import find_engine
from hybridnet_ros.engine.onnx_engine import OnnxSession
from hybridnet_ros.engine.quantize import quantize
from hybridnet_ros.engine.typed_onnx import load_onnx
from hybridnet_ros.scene.resize import resize_images
from training.command import add_config_of_engine, config_of_engine, new_parser, reports
from training.config import ConfigError, RunConfig
from training.data.label_sets import read_label_set
from training.data.sources import open_source
from training.evaluate import evaluate, summary
from training.export import PARITY_IMAGES, accuracy, validation_samples
from training.flicker import flicker
from training.parity import ParityError, measure_parity

IMAGES = 80  # for the scales, from all sources in proportion

LIMITS = {
    "mean_iou": 0.01,  # points lost
    "abs_rel": 0.03,  # relative gain
}

# These catch a file that computes something else; what 8 bits may cost is in LIMITS. Labels differ most where the
# network is unsure: on 5 % of the pixels with NYUv2's 40 classes, on 1 % with Cityscapes' 19.
PARITY_TOLERANCES = {
    "labels_disagreement": 0.06,
    "depth_abs_rel": 0.06,
    "depth_max_rel": 2.0,
    "confidence_difference": 10.0,
    "depth_non_finite": 0,
}

_CARD = """\
# {name}

[`{base}`]({base}.md) in 8 bits, for processors with VNNI instructions (x86 since about 2019) and ONNX Runtime:
weights int8 with a scale for each channel, activations uint8, the first and the last convolutions in float32. The
scales come from {images} of its training images. x86 processors without them give the same answers, and are no faster
with it than with float32.

| | float32 | int8 |
|---|---|---|
| File | {base_megabytes:.1f} MB | `{name}.onnx`, {megabytes:.1f} MB, SHA-256 `{sha256}…` |
| {labels_of}: mIoU | {base_labels[mean_iou]:.3f} | {own_labels[mean_iou]:.3f} |
| global accuracy | {base_labels[global_accuracy]:.3f} | {own_labels[global_accuracy]:.3f} |
| class accuracy | {base_labels[class_accuracy]:.3f} | {own_labels[class_accuracy]:.3f} |
| {depth_of}: AbsRel | {base_depth[abs_rel]:.3f} | {depth[abs_rel]:.3f} |
| RMSE (m) | {base_depth[rmse]:.2f} | {depth[rmse]:.2f} |
| delta1 | {base_depth[delta1]:.3f} | {depth[delta1]:.3f} |
{flicker}| Licence | {licence} | the same |

Measured on this very file by `{command}`. On {parity.images} real images the
labels of {labels:.1f} % of the pixels differ from float32's, depth by {relative:.1f} % in the mean.

{rest}"""


class LossError(Exception):
    """8 bits cost more accuracy than LIMITS allow; nothing was written."""


def quantize_engine(name_or_path: str, config: RunConfig, data: Path, output: Path) -> Manifest:
    """Write `hybridnet_NAME_int8.onnx`, its manifest `.json` and its card `.md` into `output`.

    Raises:
        ConfigError: the config has no truth of one of the tasks to measure the loss on.
        LossError: it is too much worse than the float32 engine.
    """
    claims = config.claims
    if claims.labels is None or claims.depth is None:
        raise ConfigError("validation: give labels and depth, on which the loss of 8 bits is measured")
    path = find_engine(name_or_path)
    base = load_manifest(path.with_suffix(".json"))
    path = path.with_name(base.onnx)
    onnx = base.read_onnx(path)
    with open_engine(path, "onnx_cpu") as reference:
        images = calibration_images(config, data, reference)
        with tempfile.TemporaryDirectory() as scratch:
            draft = Path(scratch) / f"{path.stem}_int8.onnx"
            model = quantize(load_onnx(onnx), images, symmetric=False)
            content = model.SerializeToString()
            manifest = replace(
                base,
                network=draft.stem,
                onnx=draft.name,
                onnx_sha256=hashlib.sha256(content).hexdigest(),
                precision="int8",
            )
            with Engine(manifest, OnnxSession(content, draft, "onnx_cpu", os.cpu_count() or 1)) as engine:
                parity = measure_parity(
                    reference, engine, validation_samples(config, data, PARITY_IMAGES), PARITY_TOLERANCES
                )
                figures = evaluate(engine, data, claims)
                base_figures = evaluate(reference, data, claims)
                if claims.sequence:
                    for each, into in ((engine, figures), (reference, base_figures)):
                        into["flicker"] = flicker(each, data, claims.sequence)
    check_loss(base_figures, figures)
    manifest = replace(manifest, parity=parity, accuracy=accuracy(f"{config.engine.name}_int8", config, figures))
    output.mkdir(parents=True, exist_ok=True)
    target = output / manifest.onnx
    temporary = target.with_suffix(".onnx.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, target)
    manifest.save(target.with_suffix(".json"))
    truths = claims.labels.about, claims.depth.about
    card = _card(manifest, path, truths, len(images), (len(onnx), len(content)), (base_figures, figures))
    target.with_suffix(".md").write_text(card, encoding="utf-8")
    print(f"float32: {summary(base_figures)}\nint8:    {summary(figures)}")
    return manifest


def calibration_images(config: RunConfig, data: Path, engine: Engine) -> list[NDArray[np.uint8]]:
    """About IMAGES training images, evenly spread over all sources, uint8 [1, H, W, 3] at network sizes."""
    label_set = read_label_set(config.data.label_set)
    sources = [open_source(source, data, label_set) for source in config.data.sources]
    places = [(source, index) for source in sources for index in range(len(source))]
    chosen = np.unique(np.linspace(0, len(places) - 1, IMAGES).round().astype(int))
    images = [source[index].image[np.newaxis] for source, index in (places[int(place)] for place in chosen)]
    return [resize_images(image, *engine.network_size(image.shape[2], image.shape[1])) for image in images]


def check_loss(base: dict[str, dict[str, Any]], figures: dict[str, dict[str, Any]]) -> None:
    """LossError when `figures` are too much worse than `base`."""
    lost = base["labels"]["mean_iou"] - figures["labels"]["mean_iou"]
    gained = figures["depth"]["pooled"]["abs_rel"] / base["depth"]["pooled"]["abs_rel"] - 1
    if not (lost <= LIMITS["mean_iou"] and gained <= LIMITS["abs_rel"]):
        raise LossError(
            f"8 bits lose {100 * lost:.1f} points of mIoU (at most {100 * LIMITS['mean_iou']:.0f}) and raise AbsRel by "
            f"{100 * gained:.1f} % (at most {100 * LIMITS['abs_rel']:.0f}); nothing was written"
        )


def _card(
    manifest: Manifest,
    base: Path,
    truths: tuple[str, str],
    images: int,
    sizes: tuple[int, int],
    figures: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]],
) -> str:
    """The card; data and limits are those of the float32 engine's card."""
    _, heading, rest = base.with_suffix(".md").read_text(encoding="utf-8").partition("## Training data")
    return _CARD.format(
        name=manifest.network,
        base=base.stem,
        images=images,
        base_megabytes=sizes[0] / 1e6,
        megabytes=sizes[1] / 1e6,
        sha256=manifest.onnx_sha256[:16],
        labels_of=truths[0],
        depth_of=truths[1],
        base_labels=figures[0]["labels"],
        own_labels=figures[1]["labels"],
        base_depth=figures[0]["depth"]["pooled"],
        depth=figures[1]["depth"]["pooled"],
        command=manifest.accuracy[0].command,
        parity=manifest.parity,
        licence=manifest.licence,
        flicker=_flicker_rows(figures[0].get("flicker"), figures[1].get("flicker")),
        labels=100 * manifest.parity.measured["labels_disagreement"],
        relative=100 * manifest.parity.measured["depth_abs_rel"],
        rest=heading + rest,
    )


def _flicker_rows(base: dict[str, Any] | None, own: dict[str, Any] | None) -> str:
    """Rows on how steady both engines are; none where the config names no sequence."""
    if base is None or own is None:
        return ""
    names = (("labels_changed", "Labels that change from frame to frame"), ("depth_change", "Depth, the same (median)"))
    return "".join(f"| {about} | {100 * base[key]:.1f} % | {100 * own[key]:.1f} % |\n" for key, about in names)


@reports(LossError, ParityError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("quantize", __doc__)
    parser.add_argument("engine", help="a float32 engine's name, or its .onnx file")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    add_config_of_engine(parser, "names the training and validation folders")
    parser.add_argument("--output", type=Path, default=Path("engines"), help="where to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    config = config_of_engine(options.config, load_manifest(find_engine(options.engine).with_suffix(".json")))
    manifest = quantize_engine(options.engine, config, options.data, options.output)
    print(f"wrote {options.output / manifest.onnx}, its manifest and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
