"""Runs an engine over the images of a recording, one after the other, for those who want to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import Engine, Manifest
from hybridnet_ros.engine.perception import View, perceive
from hybridnet_ros.messages import MessageError, camera_model, is_rectified
from hybridnet_ros.offline.sources import Source, open_stream
from hybridnet_ros.offline.streams import Selection, Stream, find_streams
from hybridnet_ros.scene.camera import CameraError, CameraModel
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay

_STACKED_FROM = 1.8
"""Pictures this many times wider than high are put below each other, others beside each other."""


@dataclass(frozen=True)
class Seen:
    """One image and what the network sees in it.

    Attributes:
        stamp_ns: of the image.
        rgb: uint8 [H, W, 3].
        view: depth, labels and confidence of the same size.
        camera: None if nothing is known about it.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    view: View
    camera: CameraModel | None


class Recording:
    """One image topic of a bag, a folder of images or a video, to be looked at.

    Attributes:
        stream: where the images are.
        skipped: images that could not be decoded so far.
    """

    def __init__(self, path: Path, topic: str = "", info_topic: str = "", fx: float | None = None) -> None:
        """Finds the images.

        Args:
            path: the recording.
            topic: of the images; the only one there is when empty.
            info_topic: of CameraInfo; the one beside the images when empty.
            fx: focal length in px of images without CameraInfo.

        Raises:
            BagError: there is no such topic, or the bag is damaged; says what there is.
            EvaluationError: a folder without images, or a file that is no recording.
        """
        self.stream: Stream = find_streams(path, Selection((topic,) if topic else (), info_topic, fx))[0]
        self.skipped = 0

    def look(self, engine: Engine, min_depth: float, max_depth: float, most: int | None = None) -> Iterator[Seen]:
        """What `engine` sees in the first `most` images (all when None).

        Raises:
            BagError: the bag is damaged at that point.
            EngineError: the engine failed.
        """
        with ExitStack() as stack:
            source: Source = stack.enter_context(open_stream(self.stream))
            frames = (frame for chunk in self.stream.chunks for frame in source.frames(chunk))
            for frame in islice(frames, most):
                try:
                    rgb = frame.decode()
                except MessageError:
                    self.skipped += 1
                    continue
                camera = self._camera(frame.info, rgb.shape[1], rgb.shape[0])
                view = perceive(engine, rgb, camera.fx if camera else None, min_depth, max_depth)
                yield Seen(frame.header.stamp_ns, rgb, view, camera)

    def _camera(self, info: object | None, width: int, height: int) -> CameraModel | None:
        """From CameraInfo, else with the focal length given and its axis through the middle of the image."""
        if info is not None:
            try:
                return camera_model(info, width, height, is_rectified(self.stream.topic))
            except (CameraError, MessageError):
                return None
        fx = self.stream.fx
        return CameraModel(width, height, fx, fx, (width - 1) / 2, (height - 1) / 2) if fx else None


def side_by_side(seen: Seen, engine: Manifest, width: int = 1920) -> NDArray[np.uint8]:
    """Image, depth and labels in one picture of at most `width` px, uint8 [H, W, 3] rgb with even sides.

    Args:
        seen: what to show.
        engine: knows the colours of labels and depth.
        width: px.
    """
    labels = overlay(seen.rgb, colorize_labels(seen.view.labels, engine.labels.palette()), 0.6)
    pictures = [seen.rgb, colorize_depth(seen.view.depth, *engine.shown_depth), labels]
    height, full_width = seen.rgb.shape[:2]
    stacked = full_width >= _STACKED_FROM * height
    whole = np.concatenate(pictures, axis=0 if stacked else 1)
    scale = min(1.0, width / whole.shape[1])
    size = [max(2, 2 * round(side * scale / 2)) for side in (whole.shape[1], whole.shape[0])]
    if size == [whole.shape[1], whole.shape[0]]:
        return whole
    return np.asarray(
        cv2.resize(whole, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
    )
