"""What there is for TensorRT on this machine, in lines for people: the GPU, TensorRT, and the plans in the cache."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from hybridnet_ros.engine.errors import EngineError, PlanError
from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.engine.plan_manifest import PlanManifest
from hybridnet_ros.engine.plans import cache_folder, kept_plans, misfits, read_plan
from hybridnet_ros.engine.tensorrt_module import Gpu, NoGpuError, TensorRT, find_gpu, load_tensorrt


def describe_gpu() -> Iterator[str]:
    """Lines about the GPU, its driver, TensorRT and cuda-python."""
    gpu = _gpu()
    if isinstance(gpu, Gpu):
        yield (
            f"GPU {gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory / 2**30:.1f} GiB, "
            f"driver for CUDA {gpu.driver}"
        )
    else:
        yield f"no GPU: {gpu}"
    try:
        yield load_tensorrt(gpu if isinstance(gpu, Gpu) else None).product
    except EngineError as error:
        yield f"no TensorRT: {error}"
    try:
        importlib.import_module("hybridnet_ros.engine.cuda")
        yield "cuda-python installed"
    except ImportError as error:
        yield f"no cuda-python ({error}): no TensorRT plan runs, pip install 'hybridnet_ros[tensorrt]'"


def describe_plans(manifest: Manifest) -> Iterator[str]:
    """Lines about the plans of an engine in the cache: what each takes, and whether it is right for this machine."""
    try:
        folder, plans = cache_folder(), kept_plans(manifest.network)
    except PlanError as error:
        yield f"no TensorRT plans: {error}"
        return
    gpu = _gpu()
    try:
        trt = load_tensorrt(gpu if isinstance(gpu, Gpu) else None)
    except EngineError:
        trt = None
    yield f"TensorRT plans in {folder}: {len(plans) or 'none'}"
    for path, described in plans:
        if isinstance(described, PlanError):
            yield f"  {path.name}: {described}"
            continue
        key = described.key
        yield f"  {path.name}: {key.precision}, {key.profile}, {key.flavour} {key.version}; {described.built}"
        yield f"    {_validity(path, described, manifest, trt)}"


def _gpu() -> Gpu | NoGpuError:
    try:
        return find_gpu()
    except NoGpuError as error:
        return error


def _validity(path: Path, described: PlanManifest, manifest: Manifest, trt: TensorRT | None) -> str:
    """Whether a plan can be used here, or why not and what to run."""
    if trt is None:
        return "cannot be used here: no TensorRT"
    reasons = misfits(described.key, manifest, trt, None, (), 1)
    try:
        read_plan(path, described)
    except PlanError as error:
        reasons.append(str(error))
    if reasons:
        return f"not for this machine: {', '.join(reasons)}; run {described.command}"
    if trt.gpu is None:
        return "whole, and for this TensorRT; there is no GPU to use it on"
    unchecked = described.unchecked(trt.gpu)
    return "valid here" if unchecked is None else f"valid here once it has passed its parity gate: {unchecked}"
