"""The figures of an evaluation: what is measured of a frame, and of all frames together.

A figure that there is no data for is None. The formulas are in scene/metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE, PREDICTED = "reference", "predicted"
"""Which depth tells how far a pixel is."""


@dataclass(frozen=True)
class DepthFigures:
    """Depth against a reference; the formulas are in scene/metrics.py.

    `scale` is the geometric mean of depth / truth: what is left of the error when pixels cancel out.

    `missing` pixels have a reference but no prediction (NaN): they are in no other figure.
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
    scale: float | None
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
class LabelBandFigures:
    """Labels where it is from `near` (exclusive) to `far` metres (inclusive); as in `SegmentationFigures`."""

    near: float
    far: float
    global_accuracy: float | None
    class_accuracy: float | None
    mean_iou: float | None
    iou: tuple[float | None, ...]
    pixels: int


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
        distance: which depth tells how far a pixel is in `bands`: REFERENCE where the evaluation has a depth
            reference, else PREDICTED.
        bands: labels by distance; pixels without a depth (sky, no LiDAR return) are in none.
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
    distance: str
    bands: tuple[LabelBandFigures, ...]


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
