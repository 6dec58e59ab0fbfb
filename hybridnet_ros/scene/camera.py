"""The pinhole camera: focal lengths and principal point of an image, and what resizing and cropping make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


class CameraError(ValueError):
    """Intrinsics that no camera has; the message says what to do."""


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera without distortion, in px; the centre of the first pixel is at (0, 0).

    Attributes:
        width, height: size of the image.
        fx, fy: focal lengths.
        cx, cy: principal point.

    Raises:
        CameraError: the size or a focal length is not positive, or a number is not finite. An uncalibrated driver sends
            such a camera_info: its K is zero throughout.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Refuses what no camera has."""
        if self.width < 1 or self.height < 1:
            raise CameraError(f"camera of {self.width} x {self.height} px: width and height must be at least 1")
        for name, focal_length in (("fx", self.fx), ("fy", self.fy)):
            if not (math.isfinite(focal_length) and focal_length > 0):
                raise CameraError(
                    f"the camera is not calibrated: {name} is {focal_length}. Calibrate it (camera_calibration) and "
                    "have its driver publish the result as camera_info"
                )
        if not (math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise CameraError(f"principal point ({self.cx}, {self.cy}) is not finite: calibrate the camera")

    @classmethod
    def from_k(cls, width: int, height: int, k: Sequence[float]) -> CameraModel:
        """The camera of a 3x3 intrinsic matrix given row by row, as in CameraInfo.k."""
        if len(k) != 9:
            raise CameraError(f"K has {len(k)} numbers: give the 9 of a 3x3 matrix, row by row")
        return cls(int(width), int(height), float(k[0]), float(k[4]), float(k[2]), float(k[5]))

    def k(self) -> tuple[float, ...]:
        """The 9 numbers of the intrinsic matrix, row by row."""
        return (self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0)

    def scaled(self, width: int, height: int) -> CameraModel:
        """The camera of the same image resized to `width` x `height` px, the borders of both images coinciding."""
        scale_x, scale_y = width / self.width, height / self.height
        # The image's border is half a pixel before the first pixel's centre, and that is what stays in place.
        return CameraModel(
            width,
            height,
            self.fx * scale_x,
            self.fy * scale_y,
            (self.cx + 0.5) * scale_x - 0.5,
            (self.cy + 0.5) * scale_y - 0.5,
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> CameraModel:
        """The camera of the part of the image that is `width` x `height` px and starts at column `x` and row `y`."""
        return CameraModel(width, height, self.fx, self.fy, self.cx - x, self.cy - y)
