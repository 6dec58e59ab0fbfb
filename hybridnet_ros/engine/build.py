"""Builds TensorRT plans: ONNX file and manifest in, plan and manifest in the cache out.

    plan = build_plan("driving", "fp16", cameras=[(1242, 375)]).plan

The network is rewritten for the precision (or, in TensorRT 8.6, the builder is told it), built by a thread that can be
stopped, compared with its ONNX file on real images, and only then kept. What was built before is not built again.
"""

from __future__ import annotations

import datetime
import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hybridnet_ros.engine.builder import Progress, Recipe, build, is_typed
from hybridnet_ros.engine.choice import run_plan
from hybridnet_ros.engine.engine import find_engine, network_size
from hybridnet_ros.engine.errors import BuildCancelled, PlanError
from hybridnet_ros.engine.files import locked
from hybridnet_ros.engine.manifest import Manifest, load_manifest
from hybridnet_ros.engine.parity import ParityError, check_plan, image_files, real_images
from hybridnet_ros.engine.plan_manifest import PRECISIONS, PlanKey, PlanManifest, PlanParity, Profile, Size
from hybridnet_ros.engine.plans import (
    Plan,
    load_plan,
    plan_path,
    remove_plan,
    save_parity,
    save_plan,
    timing_cache_path,
)
from hybridnet_ros.engine.tensorrt_module import Gpu, NoGpuError, TensorRT, find_gpu, load_tensorrt


@dataclass(frozen=True)
class Built:
    """A plan, and whether it was in the cache already."""

    plan: Plan
    cached: bool


def build_plan(
    engine: str,
    precision: str,
    cameras: Sequence[Size],
    batch: int = 1,
    progress: Progress = lambda phase, fraction: None,
    stop: threading.Event | None = None,
    calibration: Path | None = None,
) -> Built:
    """The plan of an engine for this machine, built unless it is in the cache.

    Args:
        engine: name of a shipped engine or path of an .onnx file.
        precision: one of PRECISIONS.
        cameras: (width, height) in px of the images it is to take.
        batch: most images at once.
        progress: called now and then, from other threads too.
        stop: set by another thread to give up; Ctrl-C does so as well.
        calibration: folder of images to calibrate int8 on; the shipped ones when None.

    Where there is no GPU only TensorRT-RTX can build, and the plan is compared with its ONNX file at its first use.

    Raises:
        BuildCancelled: `stop` was set; nothing is left behind.
        ParityError: the plan answers otherwise than the ONNX file; it is not kept, a report is.
        EngineError: no such engine or precision, no TensorRT, an unsupported operator, a full disk; says what to do.
    """
    stop = stop or threading.Event()
    if precision not in PRECISIONS:
        raise PlanError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if batch < 1 or not cameras or any(side < 1 for camera in cameras for side in camera):
        raise PlanError(f"one image size at least, and no number below 1: got sizes {list(cameras)}, batch {batch}")
    path = find_engine(engine)
    manifest = load_manifest(path.with_suffix(".json"))
    onnx = manifest.read_onnx(path.with_name(manifest.onnx) if path.suffix == ".json" else path)
    cameras = tuple(dict.fromkeys(cameras))
    profile = Profile(tuple(dict.fromkeys(_network_size(manifest, camera) for camera in cameras)), batch)
    trt = load_tensorrt(_gpu())
    calibration = calibration.expanduser().resolve() if calibration and precision == "int8" else None
    key = PlanKey.of(manifest.onnx_sha256, trt, precision, profile, _sha256_of_images(calibration))

    def waiting() -> bool:
        progress("another process builds the same plan; waiting for it", None)
        return not stop.is_set()

    with locked(plan_path(key, manifest.network), waiting):
        found = load_plan(key, manifest.network)
        if found is not None:
            return Built(_checked(found, onnx, trt, progress), cached=True)
        progress("rewriting the network", None)
        rewritten = _rewrite(onnx, trt, precision, profile, calibration)
        if stop.is_set():
            raise BuildCancelled("stopped before TensorRT began")
        recipe = Recipe(trt, rewritten, precision, profile, None if trt.is_rtx else timing_cache_path(key))
        started = time.monotonic()
        built = build(recipe, progress, stop)
        described = PlanManifest(
            network=manifest.network,
            engine=str(path.resolve()) if Path(engine).suffix else engine,
            key=key,
            cameras=cameras,
            gpu=trt.gpu,
            options=built.options,
            inputs=built.inputs,
            outputs=built.outputs,
            plan_sha256=hashlib.sha256(built.plan).hexdigest(),
            plan_bytes=len(built.plan),
            built=datetime.datetime.now(datetime.timezone.utc).isoformat(),
            build_seconds=round(time.monotonic() - started, 3),
            calibration=str(calibration or ""),
        )
        plan = Plan(plan_path(key, manifest.network), described, built.plan)
        if trt.gpu is not None:
            progress("comparing the plan with its ONNX file", None)
            described = replace(described, parity=_measure(plan, onnx, trt, trt.gpu, rewritten))
        progress("keeping the plan", None)
        return Built(save_plan(described, built.plan), cached=False)


def _gpu() -> Gpu | None:
    try:
        return find_gpu()
    except NoGpuError:
        return None


def _network_size(manifest: Manifest, camera: Size) -> Size:
    return network_size(*camera, manifest.input.multiple, manifest.input.pixels)


def _sha256_of_images(folder: Path | None) -> str:
    """Stands for the images of a folder; empty for the shipped ones."""
    if folder is None:
        return ""
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in image_files(folder)]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _checked(plan: Plan, onnx: bytes, trt: TensorRT, progress: Progress) -> Plan:
    """A plan of the cache, compared with its ONNX file if that is still to be done on this GPU."""
    if trt.gpu is None or plan.manifest.unchecked(trt.gpu) is None:
        return plan
    progress("comparing the plan with its ONNX file", None)
    try:
        return save_parity(plan, _measure(plan, onnx, trt, trt.gpu, None))
    except ParityError:
        remove_plan(plan)
        raise


def _measure(plan: Plan, onnx: bytes, trt: TensorRT, gpu: Gpu, rewritten: bytes | None) -> PlanParity:
    """Runs the parity gate; raises ParityError."""
    session = run_plan(trt, plan)
    try:
        return check_plan(plan, onnx, session, gpu, rewritten)
    finally:
        session.close()


def _rewrite(onnx: bytes, trt: TensorRT, precision: str, profile: Profile, calibration: Path | None) -> bytes:
    """The network as TensorRT is to get it: without arithmetic on constants, and written for the precision."""
    try:  # the package onnx is an extra: plans are built on few machines
        from hybridnet_ros.engine import typed_onnx
    except ImportError as error:
        raise PlanError(f"rewriting a network needs the module {error.name}: pip install onnx") from error
    network = typed_onnx.fold_constants(typed_onnx.load_onnx(onnx))
    if precision == "int8":
        from hybridnet_ros.engine.quantize import quantize

        images = [image[np.newaxis] for size in profile.sizes for image in real_images(size, calibration)]
        network = quantize(network, images, symmetric=True)
    if precision != "fp32" and is_typed(trt):
        network = typed_onnx.to_half(network, "fp16" if precision == "int8" else precision)
    data: bytes = network.SerializeToString()
    return data
