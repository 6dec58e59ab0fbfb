"""Makes evaluations whose figures follow from a seed, with pictures, for tests of what reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hybridnet_ros.offline.evaluation import (
    COMPLETE,
    Evaluation,
    Highlight,
    Run,
    Settings,
    StreamRecord,
    picture_path,
)
from hybridnet_ros.offline.figures import (
    REFERENCE,
    BandFigures,
    ClassFigures,
    Consistency,
    DepthFigures,
    Figures,
    FrameFigures,
    LabelBandFigures,
    Matches,
    SegmentationFigures,
)
from hybridnet_ros.offline.summary import engine_record
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels
from tiny import TINY_LABELS, tiny_manifest

WIDTH, HEIGHT = 124, 38
BANDS = ((0.0, 10.0), (10.0, 20.0), (20.0, 80.0))
ALL_PICTURES = ("image", "depth", "labels", "reference_depth", "reference_labels")


def make_evaluation(
    folder: Path, seed: int = 0, frames: int = 40, streams: int = 1, references: bool = True, pictures: bool = True
) -> Evaluation:
    """An evaluation of `streams` recordings of `frames` each, saved in `folder` with the pictures of its highlights."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = folder / "tiny.onnx"
    network.write_bytes(bytes([seed]))  # stands for an engine's file, and is another one for each seed
    every = tuple(_frame(random, stream, number, references) for stream in range(streams) for number in range(frames))
    kinds = ("worst depth", "best depth", "worst labels") if references else ("least confident", "least steady")
    shown = ALL_PICTURES if references else ALL_PICTURES[:3]
    highlights = tuple(Highlight(int(random.integers(len(every))), why, shown) for why in kinds if every)
    evaluation = Evaluation(
        status=COMPLETE,
        problems=(),
        engine=engine_record("tiny", tiny_manifest(network), "tiny on onnx_cpu: no GPU here", "onnx_cpu", threads=1),
        settings=Settings(0.1, 80.0, 0.0, 80.0, (0.0, 10.0, 20.0, 80.0), 0.05),
        streams=tuple(
            StreamRecord(
                source=f"/recordings/drive_{number}",
                kind="bag",
                topic="/camera/image",
                type="sensor_msgs/msg/Image",
                fingerprint=f"{number:064x}",
                camera="/camera/camera_info, fx 80.0 px",
                depth_reference="/lidar/depth" if references else None,
                label_reference="/truth/labels" if references else None,
                figures=_figures(random, frames, references),
                problems=(),
            )
            for number in range(streams)
        ),
        total=_figures(random, frames * streams, references),
        frames=every,
        highlights=highlights,
        run=Run("0.1.0", "a machine", "2026-01-02T03:04:05+00:00", 12.5, 2, 3.2, 101.5, 130.25),
    )
    evaluation.save(folder)
    if pictures:
        (folder / "pictures").mkdir(exist_ok=True)
        for highlight in evaluation.highlights:
            for name in highlight.pictures:
                _picture(picture_path(folder, evaluation.frames[highlight.frame], name), name, random)
    return evaluation


def with_frames(evaluation: Evaluation, frames: tuple[FrameFigures, ...]) -> Evaluation:
    """The same with other frames and no highlights."""
    return replace(evaluation, frames=frames, highlights=())


def _picture(path: Path, name: str, random: np.random.Generator) -> None:
    ramp = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    if name.endswith("depth"):
        picture = colorize_depth(1 + 79 * ramp)
    elif name.endswith("labels"):
        picture = colorize_labels((3 * ramp).clip(0, 2).astype(np.uint8), TINY_LABELS.palette())
    else:
        picture = random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    assert cv2.imwrite(str(path), picture[..., ::-1])


def _depth(random: np.random.Generator) -> DepthFigures:
    scores = random.uniform(0.01, 0.99, 10).tolist()
    return DepthFigures(*scores, pixels=int(random.integers(1000, 90000)), missing=int(random.integers(0, 900)))


def _label_band(random: np.random.Generator, near: float, far: float) -> LabelBandFigures:
    scores = random.uniform(0, 1, 6).tolist()
    return LabelBandFigures(near, far, *scores[:3], iou=tuple(scores[3:]), pixels=int(random.integers(1000, 90000)))


def _figures(random: np.random.Generator, frames: int, references: bool) -> Figures:
    shares = random.dirichlet(np.ones(3)).tolist()
    confusion = random.integers(0, 5000, (3, 4))
    scores = random.uniform(0, 1, 9).tolist()
    segmentation = SegmentationFigures(
        label_set=TINY_LABELS.name,
        class_names=TINY_LABELS.names,
        class_colors=TINY_LABELS.colors,
        global_accuracy=scores[0],
        class_accuracy=scores[1],
        mean_iou=scores[2],
        accuracy=tuple(scores[3:6]),
        iou=tuple(scores[6:9]),
        confusion=tuple(map(tuple, confusion.tolist())),
        pixels=int(confusion.sum()),
        distance=REFERENCE,
        bands=tuple(_label_band(random, near, far) for near, far in BANDS),
    )
    return Figures(
        frames=frames,
        failed=1,
        duration_s=frames / 10,
        rate_hz=10.0,
        confidence=float(random.uniform(0.5, 1)),
        finite_depth=float(random.uniform(0.5, 1)),
        classes=tuple(
            ClassFigures(name, share, float(random.uniform(0.5, 1)), _depth(random) if references else None)
            for name, share in zip(TINY_LABELS.names, shares, strict=True)
        ),
        depth=_depth(random) if references else None,
        depth_per_image=_depth(random) if references else None,
        bands=tuple(BandFigures(near, far, _depth(random)) for near, far in BANDS) if references else (),
        segmentation=segmentation if references else None,
        consistency=Consistency(float(random.uniform(0.5, 1)), float(random.uniform(0, 0.2)), max(0, frames - 1)),
        depth_matches=Matches(frames - 2, 2) if references else None,
        label_matches=Matches(frames - 3, 3) if references else None,
    )


def _frame(random: np.random.Generator, stream: int, number: int, references: bool) -> FrameFigures:
    return FrameFigures(
        stream=stream,
        number=number,
        stamp_ns=1_700_000_000_000_000_000 + number * 100_000_000,
        width=WIDTH,
        height=HEIGHT,
        confidence=float(random.uniform(0.5, 1)),
        finite_depth=float(random.uniform(0.5, 1)),
        shares=tuple(random.dirichlet(np.ones(3)).tolist()),
        # Every fifth frame has no reference near enough in time.
        depth=_depth(random) if references and number % 5 else None,
        accuracy=float(random.uniform(0, 1)) if references and number % 5 else None,
        mean_iou=float(random.uniform(0, 1)) if references and number % 5 else None,
        steady_labels=float(random.uniform(0.5, 1)) if number else None,
        steady_depth=float(random.uniform(0, 0.2)) if number else None,
    )
