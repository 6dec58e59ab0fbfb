"""Pictures of what a network sees: image | depth | labels, a row for each image (the paper's figure 2)."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay
from hybridnet_ros.scene.depth import limit_depth
from training.data.sample import Sample

NEAREST, FARTHEST = 1.0, 80.0  # metres, the ends of the depth colours
_WIDTH = 560  # px, of each picture
_GAP = 6  # px


def draw_panel(engine: Engine, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Rgb uint8 picture of what `engine` makes of `samples`; sky and what is beyond 80 m are dark in the depth."""
    palette = engine.manifest.labels.palette()
    rows = []
    for sample in samples:
        prediction = engine.predict(sample.image[np.newaxis], sample.fx)
        depth, labels = prediction.depth[0], prediction.labels[0]
        limit_depth(depth, 0.0, FARTHEST, labels, engine.manifest.beyond_labels)
        pictures = (
            sample.image,
            colorize_depth(depth, NEAREST, FARTHEST),
            overlay(sample.image, colorize_labels(labels, palette), 0.6),
        )
        height = round(_WIDTH * sample.image.shape[0] / sample.image.shape[1])
        row = [cv2.resize(picture, (_WIDTH, height), interpolation=cv2.INTER_AREA) for picture in pictures]
        gap = np.full((height, _GAP, 3), 255, np.uint8)
        rows.append(np.hstack([row[0], gap, row[1], gap, row[2]]))
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([part for row in rows for part in (row, gap)][:-1])
