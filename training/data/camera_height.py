"""Depth put right by the one length that is known of many a car: how high above the road its camera sits.

What a teacher says of depth is off by a factor that differs from image to image. The road in its depth is a plane, and
the distance of the camera from that plane is off by the same factor (scale recovery, as in DNet, Xue 2020).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.sample import Sample, Samples

_NEAREST, _FARTHEST = 4.0, 15.0  # metres, of the road that is looked at: the part of it that is most likely flat
_PIXELS = 16_000  # of an image that are looked at, about
_FEWEST = 200  # pixels: fewer do not tell a plane
_GREATEST_FACTOR = 1.15  # beyond, there is no flat road under the camera, or the teacher was wrong altogether
_ROUNDS = 20


@dataclass(frozen=True)
class AtHeight:
    """A dataset, its depth scaled so that the road lies `height` metres under the camera.

    Depth is unknown (None) where no flat road is seen, or where it would have to be scaled by more than 15 %.
    """

    samples: Samples
    height: float
    road: int  # its class id in the dataset's labels

    @property
    def label_set(self) -> str | None:
        """That of the dataset."""
        return self.samples.label_set

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`."""
        sample = self.samples[index]
        if sample.depth is None:
            return sample
        height = None
        if sample.labels is not None:
            height = camera_height(sample.depth, sample.labels == self.road, sample.fx)
        factor = self.height / height if height else np.inf
        if max(factor, 1 / factor) > _GREATEST_FACTOR:
            return replace(sample, depth=None)
        return replace(sample, depth=sample.depth * np.float32(factor))


def camera_height(depth: NDArray[np.float32], road: NDArray[np.bool_], fx: float) -> float | None:
    """How far the camera is from the plane of the road.

    On a plane with the unit normal n at the distance h, n . (x / z, y / z, 1) = h / z: inverse depth is linear in
    the pixel's place. Its coefficients, n / h, are fitted so that the relative errors of depth are small, those of
    things on the road counting little (Cauchy's loss, by least squares weighted anew). The principal point is taken
    to be the middle of the image, which matters to second order only.

    Args:
        depth: float32 [H, W] metres, NaN = unknown.
        road: bool [H, W].
        fx: focal length, px.

    Returns:
        metres; None where too little road is seen within 4 to 15 m.
    """
    rows, columns = depth.shape
    stride = max(1, round(math.sqrt(rows * columns / _PIXELS)))
    depth, road = depth[::stride, ::stride], road[::stride, ::stride]
    y, x = np.nonzero(road & (depth > _NEAREST) & (depth < _FARTHEST))
    if len(y) < _FEWEST:
        return None
    z = depth[y, x].astype(np.float64)
    rays = np.stack([(x * stride - columns / 2) / fx, (y * stride - rows / 2) / fx, np.ones(len(z))], axis=1)
    terms = rays * z[:, None]  # terms @ (n / h) = 1, off by the relative error of z
    weights = np.ones(len(z))
    plane = np.zeros(3)
    for _ in range(_ROUNDS):
        weighted = terms * weights[:, None]
        plane = np.linalg.lstsq(weighted.T @ terms, weighted.sum(axis=0), rcond=None)[0]
        errors = np.square(terms @ plane - 1)
        weights = 1 / (1 + errors / max(2 * float(np.median(errors)), 1e-6))
    length = float(np.linalg.norm(plane))
    return 1 / length if length > 0 else None
