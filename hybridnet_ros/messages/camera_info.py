"""sensor_msgs/CameraInfo <-> CameraModel, and the CameraInfo that goes with each published image.

Sizes are scaled as image_proc's ResizeNode, depth_image_proc and image_geometry's binning do it: fx and cx times the
ratio of the widths, fy and cy times the ratio of the heights. A cloud that depth_image_proc makes from the published
depth of a rectified image is then the one that `fill_points` makes. `CameraModel.scaled` keeps the image's border in
place instead: its principal point differs by (scale - 1) / 2 pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hybridnet_ros.scene.camera import CameraError, CameraModel

from .layout import check_size, set_header

_LEAST_FOCAL_RATIO, _MOST_FOCAL_RATIO = 0.02, 200.0  # focal length to width: a view of 175 degrees, and of 0.3


def is_rectified(topic: str) -> bool:
    """Whether images on a topic are rectified, by the name that image_proc gives them: image_rect, image_rect_color."""
    return topic.removesuffix("/compressed").rpartition("/")[2].startswith("image_rect")


def contents(info: Any) -> tuple[Any, ...]:
    """All that a CameraInfo says but its stamp: equal for those that describe the same camera the same way."""
    roi = info.roi
    return (
        *(info.header.frame_id, info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        *(roi.x_offset, roi.y_offset, roi.width, roi.height),
        *(values.tobytes() for values in (info.k, info.p, info.d, info.r)),
    )


def camera_model(info: Any, width: int, height: int, rectified: bool = False) -> CameraModel:
    """The pinhole camera of an image of `width` x `height` pixels that `info` belongs to.

    K, or P of a rectified image, is that of the full sensor image of `info.width` x `info.height`. A region of
    interest, binning, and a resize on the way here are accounted for.

    Args:
        info: sensor_msgs/CameraInfo.
        width: the image's width in pixels.
        height: the image's height in pixels.
        rectified: P describes the image; image_proc sends it beside the camera's own K. A P of zeros is none.

    Raises:
        CameraError: `info` is not calibrated (K is zero), or has numbers that no camera has.
        MessageError: the size is zero or absurd.
    """
    width, height = check_size(width, height, "image")
    for name in ("k", "d", "r", "p"):
        if not np.all(np.isfinite(np.asarray(getattr(info, name), np.float64))):
            raise CameraError(
                f"the camera is not calibrated: {name.upper()} of its CameraInfo has numbers that are not finite. "
                "Calibrate it again, or correct its driver"
            )
    k = [float(value) for value in info.k]
    if rectified and any(info.p):
        k = [float(value) for place, value in enumerate(info.p) if place % 4 < 3]
    _apply(_window(info, width, height), k)
    camera = CameraModel.from_k(width, height, k)
    if not _LEAST_FOCAL_RATIO < camera.fx / width < _MOST_FOCAL_RATIO:
        raise CameraError(
            f"a focal length of {camera.fx:g} px is none for images {width} px wide: the CameraInfo is of another "
            "camera or size; its width and height must be those that K was calibrated for"
        )
    return camera


def camera_info_fields(info: Any, width: int, height: int) -> dict[str, Any]:
    """The fields of a CameraInfo for an output image of another size than the camera's, all but its header.

    K and P are those of the output image; distortion and R do not depend on the size; binning and region of interest
    are cleared, since they are in K and P now. A P of zeros, which several drivers send, is made from K, because
    depth_image_proc reads P.

    Args:
        info: the camera's sensor_msgs/CameraInfo.
        width: width of the output image.
        height: height of the output image.

    Raises:
        MessageError: the size is zero or absurd.
    """
    width, height = check_size(width, height, "output image")
    k, p = [float(value) for value in info.k], [float(value) for value in info.p]
    window = _window(info, width, height)
    _apply(window, k)
    if any(p):
        _apply(window, p)
    else:
        p[0:3], p[4:7], p[8:11] = k[0:3], k[3:6], k[6:9]
    return {
        "height": height,
        "width": width,
        "distortion_model": info.distortion_model,
        "d": info.d,
        "k": np.array(k),
        "r": info.r,
        "p": np.array(p),
        "binning_x": 0,
        "binning_y": 0,
        "roi": type(info.roi)(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }


def fill_camera_info(msg: Any, info: Any, header: Any, width: int, height: int) -> Any:
    """Makes `msg` the CameraInfo of an output image: as `camera_info_fields`, with the image's own stamp and frame.

    Args:
        msg: sensor_msgs/CameraInfo to fill.
        info: the camera's CameraInfo.
        header: std_msgs/Header of the output image.
        width: width of the output image.
        height: height of the output image.

    Returns:
        `msg`.

    Raises:
        MessageError: as `camera_info_fields`.
    """
    for name, value in camera_info_fields(info, width, height).items():
        setattr(msg, name, value)
    set_header(msg, header)
    return msg


class _Window(NamedTuple):
    """The part of the sensor image that an image shows: (sensor pixel - offset) * scale = image pixel."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


def _window(info: Any, width: int, height: int) -> _Window:
    full_width, full_height = int(info.width), int(info.height)
    if full_width <= 0 or full_height <= 0 or (width, height) == (full_width, full_height):
        # Drivers that give no size, or set binning or roi but send the size K is for, mean K as it stands.
        return _Window(1.0, 1.0, 0.0, 0.0)
    roi = info.roi
    if int(roi.width) <= 0 or int(roi.height) <= 0:
        part_width, part_height, offset_x, offset_y = full_width, full_height, 0.0, 0.0
    else:
        part_width, part_height = int(roi.width), int(roi.height)
        offset_x, offset_y = float(roi.x_offset), float(roi.y_offset)
    scale_x = _scale(width, part_width, int(info.binning_x))
    scale_y = _scale(height, part_height, int(info.binning_y))
    return _Window(scale_x, scale_y, offset_x, offset_y)


def _scale(size: int, part: int, binning: int) -> float:
    # An odd side loses its last pixel in binning: then the scale is 1 / binning exactly, not the ratio of the sides.
    if binning > 1 and size == part // binning:
        return 1.0 / binning
    return size / part


def _apply(window: _Window, matrix: list[float]) -> None:
    """Crops and scales K (3x3) or P (3x4), given row by row, in place."""
    columns = len(matrix) // 3
    matrix[2] -= window.offset_x
    matrix[columns + 2] -= window.offset_y
    for column in range(columns):
        matrix[column] *= window.scale_x
        matrix[columns + column] *= window.scale_y
