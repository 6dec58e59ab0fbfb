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

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridnet_ros.offline.figures import Figures, FrameFigures
from hybridnet_ros.offline.plain import PlainError, from_plain, to_plain, write_json
from hybridnet_ros.scene.colors import SHOWN_DEPTH

FORMAT_VERSION = 2
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
        shown_depth: metres at the ends of the depth colours.
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
    shown_depth: tuple[float, float] = SHOWN_DEPTH


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
class StreamRecord:
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
    streams: tuple[StreamRecord, ...]
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
        try:
            return from_plain(cls, data)
        except PlainError as error:
            raise EvaluationError(str(error)) from None

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
