"""The manifest: the JSON file beside an ONNX file that says what the network is and how to use it.

It is the contract between training, which writes it, and everything that runs the network. It is checked against
manifest.schema.json whenever it is read or written, and it pins its ONNX file by SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from hybridnet_ros.engine.errors import ManifestError
from hybridnet_ros.scene.colors import SHOWN_DEPTH
from hybridnet_ros.scene.labels import LabelError, LabelSet

FORMAT_VERSION = 1


@dataclass(frozen=True)
class InputSpec:
    """Image sizes the network takes: `height` x `width` px in training, any sides that are multiples of `multiple`.

    `pixels` is the area to which a camera image of any shape is resized; see `Engine.network_size`.
    """

    height: int
    width: int
    multiple: int
    pixels: int


@dataclass(frozen=True)
class DataSource:
    """A data set the network was trained on, and what it was used for (for instance "labels" or "initial weights")."""

    name: str
    licence: str
    source: str
    use: str


@dataclass(frozen=True)
class TrainingRecord:
    """How the network was trained; `details` holds whatever else the recipe wants to say."""

    data: tuple[DataSource, ...]
    commit: str
    seed: int
    steps: int
    recipe: str
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Accuracy:
    """One figure measured on validation data, with the command that measured it."""

    dataset: str
    metric: str
    value: float
    command: str


@dataclass(frozen=True)
class Parity:
    """How far the ONNX was from the network it came from, over `images` images; same keys in both mappings."""

    images: int
    measured: Mapping[str, float] = field(hash=False)
    tolerances: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Manifest:
    """What an engine is.

    Attributes:
        network: name of the network.
        onnx: name of the ONNX file in the manifest's folder.
        onnx_sha256: SHA-256 of that file, lower-case hexadecimal.
        labels: the classes of the `labels` output.
        input: sizes the network takes.
        fx: training focal length in px at network size; where the resized image has this focal length, the network's
            depth is right as it is.
        depth_range: least and greatest depth in metres at that focal length.
        beyond: names of the classes that are out of range by nature, like sky.
        training: how it was trained, and on what.
        licence: licence of the weights.
        accuracy: measured on validation data.
        parity: measured at export.
        precision: number format that it computes in; the file may hold weights in fewer bits.
        shown_depth: metres at the near and the far end of the colours of its depth pictures.
        format_version: version of this format.
    """

    network: str
    onnx: str
    onnx_sha256: str
    labels: LabelSet
    input: InputSpec
    fx: float
    depth_range: tuple[float, float]
    beyond: tuple[str, ...]
    training: TrainingRecord
    licence: str
    accuracy: tuple[Accuracy, ...]
    parity: Parity
    precision: str = "float32"
    shown_depth: tuple[float, float] = SHOWN_DEPTH
    format_version: int = FORMAT_VERSION

    @property
    def beyond_labels(self) -> tuple[int, ...]:
        """The class ids of `beyond`."""
        return tuple(self.labels.index(name) for name in self.beyond)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as it stands in its file."""
        fields = {**dataclasses.asdict(self), "labels": self.labels.to_dict()}
        plain: dict[str, Any] = json.loads(json.dumps(fields))  # tuples become the lists that JSON Schema knows
        return plain

    @classmethod
    def from_dict(cls, data: Any) -> Manifest:
        """The manifest in `data`; ManifestError lists every place that is wrong and what was expected there."""
        problems = _problems(data)
        if problems:
            raise ManifestError("not a valid manifest: " + "; ".join(problems))
        try:
            labels = LabelSet.from_dict(data["labels"])
        except LabelError as error:
            raise ManifestError(f"not a valid manifest: labels: {error}") from None
        training = dict(data["training"])
        training["data"] = tuple(DataSource(**source) for source in training["data"])
        return cls(
            **{
                **data,
                "labels": labels,
                "input": InputSpec(**data["input"]),
                "depth_range": tuple(data["depth_range"]),
                "beyond": tuple(data["beyond"]),
                "shown_depth": tuple(data.get("shown_depth", SHOWN_DEPTH)),
                "training": TrainingRecord(**training),
                "accuracy": tuple(Accuracy(**figure) for figure in data["accuracy"]),
                "parity": Parity(**data["parity"]),
            }
        )

    def save(self, path: str | Path) -> None:
        """Writes the manifest whole or not at all, so that no reader ever sees half of one.

        Raises:
            ManifestError: it does not satisfy its own schema; nothing was written.
        """
        path = Path(path)
        data = self.to_dict()
        Manifest.from_dict(data)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(data, file, indent=2, ensure_ascii=False, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def read_onnx(self, path: str | Path) -> bytes:
        """The contents of the ONNX file at `path`, verified: what is loaded is what the manifest describes.

        Raises:
            ManifestError: the file is missing, or is not the one the manifest was written for.
        """
        path = Path(path)
        try:
            onnx = path.read_bytes()
        except OSError as error:
            raise ManifestError(
                f"cannot read the engine {path}: {error.strerror}; "
                "export it with python -m training.export or restore it with git checkout"
            ) from None
        if hashlib.sha256(onnx).hexdigest() != self.onnx_sha256:
            raise ManifestError(
                f"the file {path} does not match its manifest (its SHA-256 differs): it was changed, cut short, or "
                "is of another export; export both with python -m training.export or restore both with git checkout"
            )
        return onnx


def load_manifest(path: str | Path) -> Manifest:
    """Reads and checks a manifest.

    Raises:
        ManifestError: the file is missing, is not JSON or does not satisfy the schema; the message says where.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ManifestError(
            f"cannot read the manifest {path}: {error.strerror}; "
            "an engine is an .onnx file with its .json beside it, both written by python -m training.export"
        ) from None
    except ValueError as error:
        raise ManifestError(
            f"the manifest {path} is not JSON: {error}; write it with python -m training.export"
        ) from None
    try:
        return Manifest.from_dict(data)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def _refuse_constant(name: str) -> None:
    """NaN and Infinity, which Python reads and writes, and JSON does not know."""
    raise ValueError(f"{name} is no JSON number")


@lru_cache(maxsize=1)
def _validator() -> jsonschema.Draft7Validator:
    schema = json.loads(Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft7Validator(schema)


def _problems(data: Any) -> list[str]:
    """Every violation of the schema, then of what a schema cannot say, each as `place: what is wrong`."""
    errors = sorted(_validator().iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        return [f"{_place(error.absolute_path)}: {error.message}" for error in errors]
    problems = []
    sizes = data["input"]
    for side in ("height", "width"):
        if sizes[side] % sizes["multiple"]:
            problems.append(f"input.{side}: {sizes[side]} is not a multiple of input.multiple, {sizes['multiple']}")
    ranges = {name: data[name] for name in ("depth_range", "shown_depth") if name in data}
    for name, (nearest, farthest) in ranges.items():
        if not nearest < farthest:
            problems.append(f"{name}: expected the least depth first, got {nearest} and {farthest}")
    for place, number in (("fx", data["fx"]), *((f"{name}[1]", ends[1]) for name, ends in ranges.items())):
        if not math.isfinite(number):
            problems.append(f"{place}: {number} is not finite")
    problems += [
        f"beyond: no class is named {name!r}" for name in data["beyond"] if name not in data["labels"]["names"]
    ]
    if set(data["parity"]["measured"]) != set(data["parity"]["tolerances"]):
        problems.append("parity: measured and tolerances need the same keys")
    return problems


def _place(path: Any) -> str:
    """A JSON path as a person writes it: `training.data[0].licence`."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return place.lstrip(".") or "top level"
