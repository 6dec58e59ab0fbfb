"""How far a TensorRT plan is from its float32 ONNX file, on real images, and how far it may be."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import PlanError
from hybridnet_ros.engine.plan_manifest import PRECISIONS, PlanParity, Size, build_command, runs_on
from hybridnet_ros.engine.plans import Plan, cache_folder
from hybridnet_ros.engine.session import Maps, Session
from hybridnet_ros.engine.tensorrt_module import Gpu
from hybridnet_ros.resources import ResourceError, share_path

# By precision: labels_disagreement (share of pixels), depth_abs_rel (mean of |difference| / depth) and
# confidence_difference (mean, of 255).
_TOLERANCES = {
    "fp32": (0.001, 0.001, 0.5),
    "fp16": (0.01, 0.005, 1.5),
    "bf16": (0.03, 0.02, 4.0),
    "int8": (0.1, 0.05, 12.0),
}
_SAFER = {"int8": "fp16", "fp16": "bf16", "bf16": "fp32"}


class ParityError(PlanError):
    """A plan is too far from its ONNX file; it was taken away."""


@dataclass(frozen=True)
class Layer:
    """A layer of the rewritten network against the same one in float32.

    Attributes:
        name: of its output tensor.
        operator: for instance "Conv".
        relative_error: norm of the difference / norm of the output in float32.
        non_finite: number of values that are NaN or infinite.
    """

    name: str
    operator: str
    relative_error: float
    non_finite: int


def check_plan(plan: Plan, onnx: bytes, session: Session, gpu: Gpu, rewritten: bytes | None = None) -> PlanParity:
    """The parity gate: measures a plan against its float32 ONNX file in ONNX Runtime, on the images that are shipped.

    Args:
        plan: to be noted as checked with `plans.save_parity` when this returns, and removed when it raises.
        onnx: the ONNX file's contents.
        session: runs the plan on `gpu`.
        gpu: what it is measured on.
        rewritten: the network that TensorRT was given, to find the layer that departs.

    Raises:
        ParityError: it is beyond tolerance; a report is kept, and the message offers the next safer precision.
    """
    from hybridnet_ros.engine.onnx_engine import OnnxSession

    key = plan.manifest.key
    reference = OnnxSession(onnx, plan.path, "onnx_cpu", len(os.sched_getaffinity(0)))
    try:
        images, measured = measure(reference, session, key.profile.sizes, key.profile.batch)
    finally:
        reference.close()
    parity = PlanParity(gpu.name, gpu.driver, images, measured, tolerances(key.precision))
    problems = beyond(parity.measured, parity.tolerances)
    if problems:
        raise _refuse(plan, parity, problems, onnx, rewritten, gpu)
    return parity


def tolerances(precision: str) -> dict[str, float]:
    """What is allowed, by the names that `measure` uses."""
    labels, depth, confidence = _TOLERANCES[precision]
    return {
        "labels_disagreement": labels,
        "depth_abs_rel": depth,
        "confidence_difference": confidence,
        "depth_non_finite": 0.0,
    }


def safer(precision: str, possible: Sequence[str] = PRECISIONS) -> str | None:
    """The next precision of `possible` that is more exact; None if there is none."""
    next_one = _SAFER.get(precision)
    while next_one is not None and next_one not in possible:
        next_one = _SAFER.get(next_one)
    return next_one


def real_images(size: Size, folder: Path | None = None) -> list[NDArray[np.uint8]]:
    """Pictures uint8 [H, W, 3] rgb at `size` (width, height): those of `folder`, or the ones that are shipped.

    What has another shape is cut at the sides or at the top, not stretched.

    Raises:
        PlanError: there are none, or one cannot be read.
    """
    try:
        folder = folder or share_path("engines", "images")
    except ResourceError as error:
        raise PlanError(str(error)) from None
    return [_fitted(_read(path), *size) for path in image_files(folder)]


def image_files(folder: Path) -> list[Path]:
    """The pictures in a folder, by name; PlanError if there are none."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise PlanError(f"{folder} holds no .jpg or .png file: give a folder of camera pictures")
    return files


def measure(reference: Session, candidate: Session, sizes: Sequence[Size], batch: int) -> tuple[int, dict[str, float]]:
    """Number of images compared, and the mean differences (of `depth_non_finite`: the sum) at all network sizes.

    Both see the images at network size, so that only the network is compared; the candidate sees `batch` at once.
    """
    found: list[dict[str, float]] = []
    for width, height in sizes:
        images = real_images((width, height))
        for first in range(0, len(images), batch):
            stack = np.stack(images[first : first + batch])
            scales = np.ones(len(stack), np.float32)
            depth, labels, confidence = candidate.predict(stack, (width, height), scales)
            for index in range(len(stack)):
                one = slice(index, index + 1)
                expected = reference.predict(stack[one], (width, height), scales[one])
                found.append(difference(expected, (depth[one], labels[one], confidence[one])))
    measured = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    measured["depth_non_finite"] = float(sum(each["depth_non_finite"] for each in found))
    return len(found), measured


def difference(expected: Maps, found: Maps) -> dict[str, float]:
    """How far one answer is from another; depth is compared where it is finite, the rest is counted."""
    finite = np.isfinite(found[0])
    relative = np.abs(found[0][finite] - expected[0][finite]) / expected[0][finite]
    return {
        "labels_disagreement": float(np.mean(found[1] != expected[1])),
        "depth_abs_rel": float(np.mean(relative)) if relative.size else float("inf"),
        "confidence_difference": float(np.mean(np.abs(found[2].astype(int) - expected[2].astype(int)))),
        "depth_non_finite": float(finite.size - np.count_nonzero(finite)),
    }


def beyond(measured: Mapping[str, float], allowed: Mapping[str, float]) -> list[str]:
    """What is beyond its tolerance, each as a clause; a NaN is."""
    return [
        f"{name.replace('_', ' ')} is {measured[name]:.3g}, at most {limit:.3g} allowed"
        for name, limit in allowed.items()
        if not measured[name] <= limit
    ]


def first_departure(layers: Sequence[Layer], most: float = 0.1) -> Layer | None:
    """The first layer, in the order of computation, with a value that is not finite or an error above `most`."""
    return next((layer for layer in layers if layer.non_finite or not layer.relative_error <= most), None)


def _refuse(
    plan: Plan, parity: PlanParity, problems: Sequence[str], onnx: bytes, rewritten: bytes | None, gpu: Gpu
) -> ParityError:
    """The exception for a plan beyond tolerance; what is known of it is kept beside the cache as JSON."""
    layers: Sequence[Layer] = ()
    if rewritten is not None:
        from hybridnet_ros.engine.layers import compare_layers  # needs the package onnx, which is an extra

        width, height = plan.manifest.key.profile.sizes[0]
        layers = compare_layers(onnx, rewritten, real_images((width, height))[0])
    departure = first_departure(layers)
    report = {
        "plan": plan.manifest.to_dict(),
        "parity": asdict(parity),
        "first_departure": asdict(departure) if departure else None,
        "layers": [asdict(layer) for layer in layers],
    }
    path = cache_folder() / "rejected" / f"{plan.path.stem}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        kept = f"everything that was measured is in {path}"
    except OSError as error:
        kept = f"the report could not be kept in {path} ({error.strerror})"
    where = f"; the first layer that departs is {departure.name}" if departure else ""
    key = plan.manifest.key
    # TensorRT 8.6, the only one with batches to be made explicit, and GPUs before Ampere have no bfloat16.
    no_bf16 = plan.manifest.options.get("network") == "EXPLICIT_BATCH" or not runs_on("8.0+", gpu)
    instead = safer(key.precision, [each for each in PRECISIONS if each != "bf16" or not no_bf16])
    command = build_command(plan.manifest.engine, instead or key.precision, plan.manifest.cameras, key.profile.batch)
    return ParityError(
        f"the {key.precision} plan answers otherwise than its ONNX file and is not used: {'; '.join(problems)}{where}; "
        f"{kept}; " + (f"take the more exact {instead}: {command}" if instead else "please report this, with that file")
    )


def _read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise PlanError(f"{path} cannot be read as a picture: take it out of the folder")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def _fitted(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The picture at a size: cut to its shape (sides evenly, else the top, where the sky is), then resized."""
    rows, columns = picture.shape[:2]
    wanted_columns = min(columns, round(rows * width / height))
    wanted_rows = min(rows, round(columns * height / width))
    left = (columns - wanted_columns) // 2
    cut = picture[rows - wanted_rows :, left : left + wanted_columns]
    resized = np.empty((height, width, 3), np.uint8)
    cv2.resize(np.ascontiguousarray(cut), (width, height), dst=resized, interpolation=cv2.INTER_AREA)
    return resized
