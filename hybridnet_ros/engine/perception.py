"""From one picture to what is published about it: the one road that the node and the evaluation of bags both take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.scene.depth import limit_depth

UNLABELLED = 255


@dataclass(frozen=True)
class DepthLimits:
    """What depth is published as it is found: from `minimum` to `maximum` metres, and not of the classes `beyond`."""

    minimum: float
    maximum: float
    beyond: tuple[int, ...] = ()


class View:
    """What the network sees in one picture of H x W px, as it is published.

    Attributes:
        labels: uint8 [H, W].
        confidence: uint8 [H, W], 0 to 255.
    """

    def __init__(
        self,
        depth: NDArray[np.float32],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
        limits: DepthLimits | None = None,
    ) -> None:
        """`depth` float32 [H, W], metres, is limited in place, when it is first asked for."""
        self.labels = labels
        self.confidence = confidence
        self._depth = depth
        self._limits = limits

    @property
    def depth(self) -> NDArray[np.float32]:
        """Float32 [H, W] metres, limited to the range asked for (NaN, +Inf, -Inf).

        That is done when it is first asked for, which one thread may do at a time; others see to the labels meanwhile.
        """
        limits, self._limits = self._limits, None
        if limits is not None:
            limit_depth(self._depth, limits.minimum, limits.maximum, self.labels, limits.beyond)
        return self._depth

    def mask(self, min_confidence: float) -> NDArray[np.uint8]:
        """`labels`, UNLABELLED where the network is less sure than `min_confidence` (0 to 1)."""
        if min_confidence <= 0.0:
            return self.labels
        return np.where(self.confidence < min_confidence * 255, np.uint8(UNLABELLED), self.labels)


def perceive(engine: Engine, rgb: NDArray[np.uint8], fx: float | None, min_depth: float, max_depth: float) -> View:
    """Depth and labels of one picture: `perceive_batch` of one."""
    return perceive_batch(engine, [rgb], [fx], min_depth, max_depth)[0]


def perceive_batch(
    engine: Engine,
    pictures: Sequence[NDArray[np.uint8]],
    fx: Sequence[float | None],
    min_depth: float,
    max_depth: float,
) -> list[View]:
    """Depth and labels of pictures of one size, in one run of the network.

    Args:
        engine: runs the network.
        pictures: uint8 [H, W, 3] each.
        fx: the focal length of each picture in px; without it depth is as at the training focal length.
        min_depth: metres; nearer is -Inf.
        max_depth: metres; farther, and classes that are beyond range by nature, are +Inf.

    Raises:
        EngineError: the engine cannot take the pictures, or failed.
    """
    images = pictures[0][np.newaxis] if len(pictures) == 1 else np.stack(pictures)
    height, width = images.shape[1:3]
    training_fx = engine.manifest.fx * width / engine.network_size(width, height)[0]
    prediction = engine.predict(images, fx=[training_fx if one is None else one for one in fx])
    limits = DepthLimits(min_depth, max_depth, engine.manifest.beyond_labels)
    maps = zip(prediction.depth, prediction.labels, prediction.confidence, strict=True)
    return [View(depth, labels, confidence, limits) for depth, labels, confidence in maps]
