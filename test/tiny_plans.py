"""Manifests of plans for the tiny engine, and the TensorRT that would have built them."""

from __future__ import annotations

import dataclasses
import hashlib
from types import SimpleNamespace

from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.engine.plan_manifest import PlanKey, PlanManifest, PlanParity, Profile, Tensor
from hybridnet_ros.engine.tensorrt_module import Gpu, TensorRT

ORIN = Gpu("Orin", "8.7", 8 << 30, "12.6")
PROFILE = Profile(((96, 64), (64, 64)), 2)
DATA = b"vtrt" + bytes(1000)


def tensorrt(version: str = "10.3.0", gpu: Gpu | None = ORIN, flavour: str = "tensorrt") -> TensorRT:
    return TensorRT(flavour, SimpleNamespace(__version__=version), gpu)


def described(manifest: Manifest, precision: str = "fp16", built: str = "2026-01-01", **key: object) -> PlanManifest:
    of = PlanKey.of(manifest.onnx_sha256, tensorrt(), precision, PROFILE)
    return PlanManifest(
        network=manifest.network,
        engine="driving",
        key=dataclasses.replace(of, **key),
        cameras=((97, 65), (64, 64)),
        gpu=ORIN,
        options={"flags": ["FP16"]},
        inputs=(Tensor("image", "UINT8", (-1, -1, -1, 3)),),
        outputs=(Tensor("depth", "FLOAT", (-1, -1, -1)),),
        plan_sha256=hashlib.sha256(DATA).hexdigest(),
        plan_bytes=len(DATA),
        built=built,
        build_seconds=1.5,
        parity=PlanParity("Orin", "12.6", 8, {"depth_abs_rel": 0.001}, {"depth_abs_rel": 0.005}),
    )
