"""What a TensorRT plan is: the JSON beside it, and the key under which it is kept.

A plan is good only for the ONNX file, the TensorRT, the kind of GPU, the precision and the image sizes that it was
built for: that is its key. The manifest also says how it was built and how far it is from its ONNX file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from hybridnet_ros.engine.errors import PlanError
from hybridnet_ros.engine.tensorrt_module import Gpu, TensorRT

FORMAT_VERSION = 1  # also to be raised when the same ONNX file would be built into something else than before
PRECISIONS = ("fp32", "fp16", "bf16", "int8")

_RTX_CAPABILITY = "8.0+"  # TensorRT-RTX compiles for the GPU itself when a plan is loaded

Size = tuple[int, int]


@dataclass(frozen=True)
class Profile:
    """Which images a plan takes: 1 to `batch` of one of the network `sizes` (width, height).

    The plan has one optimisation profile for each size, in this order.
    """

    sizes: tuple[Size, ...]
    batch: int = 1

    def covers(self, sizes: Sequence[Size], batch: int) -> bool:
        """Does it take all that is asked for?"""
        return batch <= self.batch and set(sizes) <= set(self.sizes)

    def __str__(self) -> str:
        """For people, for instance "768x224, batch 1 to 4"."""
        sizes = ", ".join(f"{width}x{height}" for width, height in self.sizes)
        return f"{sizes}, batch {'1' if self.batch == 1 else f'1 to {self.batch}'}"


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on.

    Attributes:
        onnx_sha256: of the float32 ONNX file.
        flavour: "tensorrt" or "tensorrt_rtx".
        version: of TensorRT in full; a plan of another version does not load.
        system: for instance "linux-x86_64".
        compute_capability: of the GPU, for instance "8.7", or "8.0+" for all from 8.0 on (TensorRT-RTX).
        precision: one of PRECISIONS.
        profile: which images it takes.
        calibration: SHA-256 of the pictures that the scales of int8 were found with; empty for those that are shipped.
    """

    onnx_sha256: str
    flavour: str
    version: str
    system: str
    compute_capability: str
    precision: str
    profile: Profile
    calibration: str = ""

    @classmethod
    def of(cls, onnx_sha256: str, trt: TensorRT, precision: str, profile: Profile, calibration: str = "") -> PlanKey:
        """The key of the plan that `trt` would build here.

        Raises:
            PlanError: there is no GPU and `trt` needs one to build.
        """
        if trt.is_rtx:
            capability = _RTX_CAPABILITY
        elif trt.gpu is not None:
            capability = trt.gpu.compute_capability
        else:
            raise PlanError(f"{trt.product} builds plans for the GPU it runs on, and there is none")
        return cls(onnx_sha256, trt.flavour, trt.version, trt.system, capability, precision, profile, calibration)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for the whole key."""
        text = json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def runs_on(compute_capability: str, gpu: Gpu) -> bool:
    """Does a plan for `compute_capability` ("8.7" or "8.0+") run on `gpu`?"""
    if compute_capability.endswith("+"):
        return _numbers(gpu.compute_capability) >= _numbers(compute_capability[:-1])
    return gpu.compute_capability == compute_capability


@dataclass(frozen=True)
class Tensor:
    """An input or output of a plan; -1 in `shape` for an axis that its profiles say."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PlanParity:
    """How far the plan is from its float32 ONNX file in ONNX Runtime; same keys in both mappings, all within tolerance.

    `gpu` and `driver` are those it was measured with: on others it is measured again.
    """

    gpu: str
    driver: str
    images: int
    measured: Mapping[str, float] = field(hash=False)
    tolerances: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class PlanManifest:
    """What a plan is, and how it came about.

    Attributes:
        network: name of the network, as in the manifest of its ONNX file.
        engine: name or path that was given to build-engine.
        key: what it depends on.
        cameras: camera sizes (width, height) it was asked for, px.
        calibration: folder of the pictures that int8 was calibrated with; empty for those that are shipped.
        gpu: on which it was built; None where that was done without one.
        options: what the builder was told.
        inputs: as TensorRT lists them.
        outputs: as TensorRT lists them.
        plan_sha256: of the plan file.
        plan_bytes: its size.
        built: when, UTC, ISO 8601.
        build_seconds: how long it took.
        parity: None until it was measured, for which a GPU is needed; a plan beyond tolerance is not kept at all.
        format_version: version of this format.
    """

    network: str
    engine: str
    key: PlanKey
    cameras: tuple[Size, ...]
    gpu: Gpu | None
    options: Mapping[str, Any] = field(hash=False)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    plan_sha256: str
    plan_bytes: int
    built: str
    build_seconds: float
    parity: PlanParity | None = None
    calibration: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def command(self) -> str:
        """The command that builds it, here and for what is installed here."""
        return build_command(self.engine, self.key.precision, self.cameras, self.key.profile.batch, self.calibration)

    def unchecked(self, gpu: Gpu) -> str | None:
        """Why the parity gate must be passed (again) before the plan may answer on `gpu`; None if it need not."""
        if self.parity is None:
            return "its parity was not measured yet: it was built without a GPU"
        if (self.parity.gpu, self.parity.driver) != (gpu.name, gpu.driver):
            return (
                f"its parity was measured on {self.parity.gpu} with the driver for CUDA {self.parity.driver}, "
                f"this is {gpu.name} with {gpu.driver}"
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """The manifest as it stands in its file."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, data: Any) -> PlanManifest:
        """The manifest in `data`; PlanError lists every place that is wrong."""
        problems = [
            f"{'.'.join(str(part) for part in error.absolute_path) or 'top level'}: {error.message}"
            for error in _validator().iter_errors(data)
        ]
        if problems:
            raise PlanError(f"not a valid plan manifest: {'; '.join(sorted(problems))}")
        key = dict(data["key"])
        profile = Profile(_sizes(key["profile"]["sizes"]), key["profile"]["batch"])
        return cls(
            **{
                **data,
                "key": PlanKey(**{**key, "profile": profile}),
                "cameras": _sizes(data["cameras"]),
                "gpu": Gpu(**data["gpu"]) if data["gpu"] else None,
                "inputs": tuple(Tensor(each["name"], each["dtype"], tuple(each["shape"])) for each in data["inputs"]),
                "outputs": tuple(Tensor(each["name"], each["dtype"], tuple(each["shape"])) for each in data["outputs"]),
                "parity": PlanParity(**data["parity"]) if data["parity"] else None,
            }
        )


def build_command(engine: str, precision: str, cameras: Sequence[Size], batch: int, calibration: str = "") -> str:
    """The command line that builds a plan; the user puts the size in where none is known."""
    sizes = "".join(f" --size {width}x{height}" for width, height in cameras) or " --size WIDTHxHEIGHT"
    images = f" --calibration {shlex.quote(calibration)}" if calibration else ""
    return f"hybridnet build-engine {shlex.quote(engine)} --precision {precision}{sizes} --batch {batch}{images}"


def load_plan_manifest(path: Path) -> PlanManifest:
    """Reads and checks the manifest at `path`.

    Raises:
        PlanError: it cannot be read, is not JSON, or does not satisfy the schema.
    """
    try:
        return PlanManifest.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise PlanError(f"{path} is not JSON: {error}") from None


@lru_cache(maxsize=1)
def _validator() -> jsonschema.Draft7Validator:
    schema = json.loads(Path(__file__).with_name("plan.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


def _sizes(pairs: Sequence[Sequence[int]]) -> tuple[Size, ...]:
    return tuple((width, height) for width, height in pairs)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
