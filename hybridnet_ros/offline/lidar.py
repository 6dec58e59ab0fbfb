"""Projects LiDAR points into an image through the lens that CameraInfo describes, distortion included."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError, camera_info_fields
from hybridnet_ros.scene.camera import CameraModel

_NEAREST_POINT = 0.1  # metres before the camera: what is nearer is the robot itself
_POLYNOMIAL, _FISHEYE = ("plumb_bob", "rational_polynomial"), ("equidistant", "fisheye")
_COEFFICIENTS = (4, 5, 8, 12, 14)


@dataclass(frozen=True)
class Lens:
    """How a camera takes points in its optical frame to pixels.

    Attributes:
        width, height: of the image in px.
        matrix: [3, 3], of the image's own size.
        turn: [3, 3], from the camera's optical frame to that of the rectified image.
        model: of distortion, one of _POLYNOMIAL and _FISHEYE; empty where there is none.
        distortion: its coefficients, as OpenCV orders them.
        reach: how far from the axis the model holds, as tangent of the angle. Beyond it the polynomial turns back and
            would put points of the side into the image.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    turn: NDArray[np.float64]
    model: str = ""
    distortion: tuple[float, ...] = ()
    reach: float = math.inf


def lens(info: Any, width: int, height: int, rectified: bool) -> Lens:
    """The lens of an image of `width` x `height` px that the CameraInfo `info` belongs to.

    Args:
        info: sensor_msgs/CameraInfo; a region of interest, binning and a resize are accounted for.
        width, height: px.
        rectified: the image was rectified: P and R describe it, and there is no distortion left. Else K and D do.

    Raises:
        CameraError: `info` is not calibrated.
        MessageError: the distortion model is not known, or has another number of coefficients.
    """
    fields = camera_info_fields(info, width, height)
    if rectified:
        p = fields["p"]
        CameraModel.from_k(width, height, [p[0], 0, p[2], 0, p[5], p[6], 0, 0, 1])  # refuses what no camera has
        turn = np.array(info.r, np.float64).reshape(3, 3)
        turn = turn if turn.any() else np.eye(3)  # several drivers send zeros
        return Lens(width, height, np.array(p).reshape(3, 4)[:, :3], turn)
    matrix = np.array(fields["k"]).reshape(3, 3)
    CameraModel.from_k(width, height, fields["k"])  # refuses what no camera has
    model, distortion = str(info.distortion_model), tuple(float(value) for value in info.d)
    if not any(distortion):
        return Lens(width, height, matrix, np.eye(3))
    if model in _FISHEYE and len(distortion) == 4:
        reach = _monotone_until([1.0, *distortion], [1.0])
        # The polynomial of these is in the angle itself, not in its tangent.
        return Lens(width, height, matrix, np.eye(3), model, distortion, math.tan(min(reach, math.pi / 2)))
    if model in _POLYNOMIAL and len(distortion) in _COEFFICIENTS:
        k = [*distortion, *[0.0] * 4][:8]
        return Lens(width, height, matrix, np.eye(3), model, distortion,
                    _monotone_until([1.0, k[0], k[1], k[4]], [1.0, *k[5:8]]))  # fmt: skip
    raise MessageError(
        f"distortion model '{model}' with {len(distortion)} coefficients is not known: plumb_bob (4 or 5), "
        "rational_polynomial (8) and equidistant (4) are"
    )


def project(points: NDArray[np.float64], transform: NDArray[np.float64], camera: Lens) -> NDArray[np.float32]:
    """Depth float32 [H, W] of points [N, 3] seen by `camera`, NaN where there is none; the nearest point of a pixel.

    `transform` [3, 4] takes them to the camera's optical frame. Depth is along the axis of the image's own frame.
    """
    x, y, z = camera.turn @ (transform[:, :3] @ points.T + transform[:, 3:])
    seen = z > _NEAREST_POINT  # also false for nan
    x, y, z = x[seen], y[seen], z[seen]
    inside = np.hypot(x, y) < camera.reach * z
    flat, z = np.stack([x / z, y / z], axis=-1)[inside], z[inside]
    columns, rows = np.rint(_pixels(flat, camera))
    inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    order = np.argsort(-z[inside], kind="stable")  # the nearest is written last and stays
    depth = np.full((camera.height, camera.width), np.nan, np.float32)
    depth[rows[inside][order].astype(int), columns[inside][order].astype(int)] = z[inside][order]
    return depth


def _pixels(flat: NDArray[np.float64], camera: Lens) -> NDArray[np.float64]:
    """Column and row [2, N] of points [N, 2] in the plane one metre before the camera."""
    if not camera.model or not len(flat):
        fx, _, cx, _, fy, cy = camera.matrix[:2].ravel()
        return np.stack([flat[:, 0] * fx + cx, flat[:, 1] * fy + cy])
    points, nowhere = np.insert(flat, 2, 1.0, axis=1)[:, None], np.zeros(3)
    project_points = cv2.fisheye.projectPoints if camera.model in _FISHEYE else cv2.projectPoints
    pixels, _ = project_points(points, nowhere, nowhere, camera.matrix, np.array(camera.distortion))
    return np.asarray(pixels, np.float64).reshape(-1, 2).T


def _monotone_until(top: list[float], bottom: list[float]) -> float:
    """The smallest r > 0 where r * top(r^2) / bottom(r^2) stops to grow; inf where it never does.

    Both are coefficients of powers of r^2, the lowest first. The tangential terms of a lens are small and left out.
    """
    s = np.polynomial.Polynomial([0.0, 1.0])
    n, d = np.polynomial.Polynomial(top), np.polynomial.Polynomial(bottom)
    growth = (n + 2 * s * n.deriv()) * d - 2 * s * n * d.deriv()
    ends = [root.real for p in (growth, d) for root in p.trim().roots() if abs(root.imag) < 1e-9 and root.real > 0]
    return math.sqrt(min(ends, default=math.inf))
