"""The engine `stand-in`: a scene prepared beforehand for every image, in no time, so that what is measured is the rest.

It sees the same scene in whatever it is shown: a road up to 120 m away under a sky, so that limiting the depth has
work to do. For `hybridnet benchmark node`, and to try a robot's cameras and topics without a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.manifest import DataSource, InputSpec, Manifest, Parity, TrainingRecord
from hybridnet_ros.engine.session import Maps
from hybridnet_ros.scene.labels import LabelSet

NAME = "stand-in"

_NEAR_M, _FAR_M = 2.0, 120.0
_ROAD, _SKY = 0, 1
_CONFIDENCE = 230

MANIFEST = Manifest(
    network="stand_in",
    onnx="none",
    onnx_sha256="0" * 64,
    labels=LabelSet(name="stand_in2", names=("road", "sky"), colors=((128, 64, 128), (70, 130, 180)), ids=(7, 23)),
    input=InputSpec(height=224, width=768, multiple=32, pixels=768 * 224),
    fx=446.0,
    depth_range=(_NEAR_M, _FAR_M),
    beyond=("sky",),
    training=TrainingRecord(
        data=(DataSource(name="none", licence="CC0-1.0", source="made by hand", use="nothing"),),
        commit="0" * 40,
        seed=0,
        steps=0,
        recipe="no network: a stand-in that takes no time",
    ),
    licence="Apache-2.0",
    accuracy=(),
    parity=Parity(images=1, measured={"labels_agreement": 1.0}, tolerances={"labels_agreement": 0.99}),
)
"""That of no network at all; it is never read from a file."""


class StandIn:
    """A `Session` that answers with the same arrays again and again, until images of another size come.

    Whoever changes them, as limiting the depth does, changes its next answers too.
    """

    runtime = "none"
    description = "nothing: a prepared scene, in no time"

    def __init__(self) -> None:
        self._maps = scene(1, 1, 1)

    def predict(self, images: NDArray[np.uint8], network_size: tuple[int, int], scales: NDArray[np.float32]) -> Maps:
        """The prepared scene at the size of `images`, whatever they, `network_size` and `scales` are."""
        if self._maps[0].shape != images.shape[:3]:
            self._maps = scene(*images.shape[:3])
        return self._maps

    def takes(self, network_size: tuple[int, int]) -> bool:
        """Any size will do."""
        return True

    def close(self) -> None:
        """Nothing is to be freed."""


def scene(count: int, height: int, width: int) -> Maps:
    """Depth, labels and confidence [count, height, width] of a road under a sky, which takes the upper third."""
    rows = np.arange(height)[:, np.newaxis]
    horizon = height // 3
    depth = np.minimum(_NEAR_M * (height - horizon) / np.maximum(rows - horizon, 1), _FAR_M).astype(np.float32)
    labels = np.where(rows < horizon, np.uint8(_SKY), np.uint8(_ROAD))
    shape = (count, height, width)
    confidence = np.full(shape, _CONFIDENCE, np.uint8)
    return np.broadcast_to(depth, shape).copy(), np.broadcast_to(labels, shape).copy(), confidence
