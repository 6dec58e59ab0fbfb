"""What `hybridnet evaluate-bag` finds out, as typed figures that go to one JSON file and come back the same.

    output folder
        evaluation.json        an `Evaluation`
        report.html            the same as a page
        predictions/           a bag for each stream with the node's topics: depth, labels, confidence, CameraInfo
        pictures/              JPEGs of the frames in `Evaluation.highlights`, named by `picture_path`
        parts/                 what is done so far, while it is not complete; a second run goes on from there

Everything but `Evaluation.run` depends only on the engine, the recordings and the settings: not on the number of
workers, nor on whether the work was interrupted in between. A figure that there is no data for is None.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

FORMAT_VERSION = 1
FILE_NAME = "evaluation.json"
COMPLETE, PARTIAL = "complete", "partial"

PICTURES = {
    "image": "the camera image",
    "depth": "predicted depth",
    "labels": "predicted classes over the image",
    "reference_depth": "reference depth, enlarged points where it is sparse",
    "reference_labels": "reference classes over the image",
}
"""The pictures that a highlighted frame can have (a `Highlight` says which it has), and their captions."""


class EvaluationError(Exception):
    """An evaluation cannot be made, read or written; the message names the thing and the remedy."""


@dataclass(frozen=True)
class EngineRecord:
    """Which engine made the predictions.

    Attributes:
        name: as given on the command line.
        network: name in the manifest.
        sha256: of the ONNX file.
        precision: number format of the weights.
        runtime: what ran it, for instance `onnx_cpu`.
        description: network, runtime and why, in one line.
        threads: CPU threads each worker computed with.
        fx: training focal length in px at network size.
        label_set: name of its label set; `class_names` and `class_colors` (rgb) in the order of the class ids.
        licence: of the weights.
        trained: recipe, steps, seed and commit in one line.
    """

    name: str
    network: str
    sha256: str
    precision: str
    runtime: str
    description: str
    threads: int
    fx: float
    label_set: str
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    licence: str
    trained: str


@dataclass(frozen=True)
class Settings:
    """What was asked for; the first three are the node's parameters of the same name.

    Attributes:
        min_depth, max_depth: metres; predictions outside are -Inf and +Inf.
        min_confidence: 0 to 1; labels less certain are 255.
        cap: metres; reference depth beyond it does not count.
        bands: edges of the distance bands in metres, ascending.
        tolerance_s: greatest difference between the stamps of an image and of its reference.
    """

    min_depth: float
    max_depth: float
    min_confidence: float
    cap: float
    bands: tuple[float, ...]
    tolerance_s: float


@dataclass(frozen=True)
class DepthFigures:
    """Depth against a reference; the formulas are in scene/metrics.py.

    `missing` pixels have a reference but no finite prediction (class sky, out of range): they are in no other figure.
    """

    delta1: float | None
    delta2: float | None
    delta3: float | None
    abs_rel: float | None
    sq_rel: float | None
    rmse: float | None
    rmse_log: float | None
    si_log: float | None
    si_var: float | None
    pixels: int
    missing: int


@dataclass(frozen=True)
class BandFigures:
    """Depth where the reference is from `near` (exclusive) to `far` metres (inclusive)."""

    near: float
    far: float
    depth: DepthFigures


@dataclass(frozen=True)
class ClassFigures:
    """One class of the engine, over the pixels predicted to be of it.

    Attributes:
        name: the class.
        share: of all pixels, 0 to 1.
        confidence: mean probability, 0 to 1.
        depth: against the reference depth.
    """

    name: str
    share: float
    confidence: float | None
    depth: DepthFigures | None


@dataclass(frozen=True)
class SegmentationFigures:
    """Labels against a reference; predictions are mapped to the reference's classes where they are others.

    Attributes:
        label_set: name of the reference's label set.
        class_names, class_colors: its classes.
        global_accuracy, class_accuracy, mean_iou: G, C and IoU of the paper.
        accuracy, iou: of each class; None where the reference has none of it.
        confusion: pixels; row: reference, column: prediction; the last column is "no class".
        pixels: labelled pixels of the reference.
    """

    label_set: str
    class_names: tuple[str, ...]
    class_colors: tuple[tuple[int, int, int], ...]
    global_accuracy: float | None
    class_accuracy: float | None
    mean_iou: float | None
    accuracy: tuple[float | None, ...]
    iou: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    pixels: int


@dataclass(frozen=True)
class Consistency:
    """How steady predictions are from one frame to the next, moved along with the image by optical flow.

    A chunk of a recording (10 s of a bag) starts anew. Means over all pairs of frames.

    Attributes:
        labels: share of pixels whose label stays, 0 to 1.
        depth: median over pixels of |ln(depth / depth before)|; 0.05 is a change by 5 %.
        pairs: pairs of frames compared.
    """

    labels: float | None
    depth: float | None
    pairs: int


@dataclass(frozen=True)
class Matches:
    """How many frames found a reference within the tolerance, and how many did not."""

    matched: int
    unmatched: int


@dataclass(frozen=True)
class Figures:
    """All figures over a set of frames.

    Attributes:
        frames: evaluated.
        failed: images that could not be decoded, or that the engine failed on.
        duration_s: from the first stamp to the last.
        rate_hz: frames a second of recording.
        confidence: mean probability of the labels, 0 to 1.
        finite_depth: share of pixels with a finite depth, 0 to 1.
        classes: of the engine, in the order of the class ids.
        depth: over all pixels of all frames; None without a reference.
        depth_per_image: mean of the figures of single frames.
        bands: depth by distance.
        segmentation: None without a reference.
        consistency: from frame to frame.
        depth_matches, label_matches: None without that kind of reference.
    """

    frames: int
    failed: int
    duration_s: float
    rate_hz: float | None
    confidence: float | None
    finite_depth: float | None
    classes: tuple[ClassFigures, ...]
    depth: DepthFigures | None
    depth_per_image: DepthFigures | None
    bands: tuple[BandFigures, ...]
    segmentation: SegmentationFigures | None
    consistency: Consistency
    depth_matches: Matches | None
    label_matches: Matches | None


@dataclass(frozen=True)
class FrameFigures:
    """One frame.

    Attributes:
        stream: which of `Evaluation.streams`.
        number: its place in the stream, from 0.
        stamp_ns: of the image, ns.
        width, height: px.
        confidence: mean probability of the labels, 0 to 1.
        finite_depth: share of pixels with a finite depth.
        shares: of each class of the engine.
        depth: against its reference; None without one, or where none was near enough in time.
        accuracy: share of reference pixels with the right label; likewise.
        mean_iou: over the classes present in its reference; likewise.
        steady_labels, steady_depth: as in `Consistency`, against the frame before; None for the first.
    """

    stream: int
    number: int
    stamp_ns: int
    width: int
    height: int
    confidence: float
    finite_depth: float
    shares: tuple[float, ...]
    depth: DepthFigures | None
    accuracy: float | None
    mean_iou: float | None
    steady_labels: float | None
    steady_depth: float | None


@dataclass(frozen=True)
class Stream:
    """One image topic of one bag, one folder of images, or one video.

    Attributes:
        source: path as given.
        kind: `bag`, `folder` or `video`.
        topic: of the images; empty for a folder or video.
        type: message type, or the kind of file.
        fingerprint: of the recording: SHA-256 of its files' names, sizes, first and last MiB.
        camera: where the focal length comes from, in words.
        depth_reference, label_reference: where they come from, in words; None without.
        figures: over the frames of this stream.
        problems: what went wrong on the way, in words.
    """

    source: str
    kind: str
    topic: str
    type: str
    fingerprint: str
    camera: str
    depth_reference: str | None
    label_reference: str | None
    figures: Figures
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Highlight:
    """A frame to look at.

    Attributes:
        frame: index into `Evaluation.frames`.
        why: `worst depth`, `typical depth`, `best depth`, the same with `labels`, `least confident`, `least steady`.
        pictures: those of PICTURES that there are files of.
    """

    frame: int
    why: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """How it was made; differs from run to run.

    Attributes:
        version: of hybridnet_ros.
        machine: processor and software in one line.
        started: ISO 8601, UTC.
        seconds: the work took, all runs together if it was resumed.
        workers: processes.
        frames_per_s: over `seconds`.
        engine_ms_p50, engine_ms_p95: the engine alone, for one frame in one worker.
    """

    version: str
    machine: str
    started: str
    seconds: float
    workers: int
    frames_per_s: float | None
    engine_ms_p50: float | None
    engine_ms_p95: float | None


@dataclass(frozen=True)
class Evaluation:
    """Everything. `status` is COMPLETE, or PARTIAL when it was stopped or a recording is damaged: see `problems`.

    `frames` are in the order of the streams, and in each by number.
    """

    status: str
    problems: tuple[str, ...]
    engine: EngineRecord
    settings: Settings
    streams: tuple[Stream, ...]
    total: Figures
    frames: tuple[FrameFigures, ...]
    highlights: tuple[Highlight, ...]
    run: Run
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and None."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, data: Any) -> Evaluation:
        """What `to_dict` made.

        Raises:
            EvaluationError: it is something else; says where.
        """
        version = data.get("format_version") if isinstance(data, Mapping) else None
        if version != FORMAT_VERSION:
            raise EvaluationError(
                f"not an evaluation of format {FORMAT_VERSION} (format_version is {version}): "
                "make it again with hybridnet evaluate-bag"
            )
        return from_plain(cls, data)

    def save(self, folder: Path) -> Path:
        """Write it whole or not at all; returns the file's path."""
        path = folder / FILE_NAME
        write_json(path, self.to_dict())
        return path


def load(path: str | Path) -> Evaluation:
    """Read an evaluation from its JSON file or from its output folder.

    Raises:
        EvaluationError: there is none, or it is no evaluation.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    try:
        return Evaluation.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise EvaluationError(
            f"cannot read the evaluation {file}: {error.strerror}; hybridnet evaluate-bag writes one"
        ) from None
    except ValueError as error:
        raise EvaluationError(f"the evaluation {file} is not JSON: {error}") from None
    except EvaluationError as error:
        raise EvaluationError(f"{file}: {error}") from None


def picture_path(folder: Path, frame: FrameFigures, picture: str) -> Path:
    """The JPEG of one of PICTURES of a highlighted frame, in the output folder of the evaluation."""
    return folder / "pictures" / f"{frame.stream}_{frame.number:06d}_{picture}.jpg"


def prediction_bag(folder: Path, stream: int) -> Path | None:
    """The bag of predictions of a stream, in the output folder of the evaluation; None if there is none."""
    return next((path.parent for path in (folder / "predictions").glob(f"{stream}_*/metadata.yaml")), None)


def write_json(path: Path, plain: Any) -> None:
    """Write JSON so that no reader, and no crash, ever leaves half of it at `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def known(value: float) -> float | None:
    """`value`, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def to_plain(value: Any) -> Any:
    """A dataclass as dicts, lists and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


_T = TypeVar("_T")


def from_plain(kind: type[_T], data: Any, place: str = "") -> _T:
    """The `kind` that `to_plain` made `data` of; unknown keys are left out.

    Raises:
        EvaluationError: a key is missing or of another type; says where.
    """
    return typing.cast(_T, _decode(kind, data, place))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Any, place: str) -> Any:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _decode(inside[0], data, place)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise EvaluationError(f"{place}: expected a list, got {data!r}")
        kinds = inside[:1] * len(data) if inside[-1] is Ellipsis else inside
        if len(kinds) != len(data):
            raise EvaluationError(f"{place}: expected {len(kinds)} values, got {len(data)}")
        return tuple(
            _decode(each, item, f"{place}[{i}]") for i, (each, item) in enumerate(zip(kinds, data, strict=True))
        )
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, Mapping):
            raise EvaluationError(f"{place}: expected an object, got {data!r}")
        make: Any = kind  # mypy takes it for an instance
        hints = _hints(make)
        missing = [field.name for field in dataclasses.fields(kind) if field.name not in data]
        if missing:
            raise EvaluationError(f"{place or 'top level'}: {', '.join(missing)} missing")
        return make(**{name: _decode(hints[name], data[name], f"{place}.{name}".lstrip(".")) for name in hints})
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise EvaluationError(f"{place}: expected {kind.__name__}, got {data!r}")
    return data
