"""The recorded drive of the demo: camera frames, and the LiDAR depth that says how wrong the network's depth is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import compressed_to_rgb
from hybridnet_ros.offline.bag import BagError, open_bag

IMAGE_TOPIC = "/camera/image_rect/compressed"
INFO_TOPIC = "/camera/camera_info"
LIDAR_TOPIC = "/lidar/depth/compressed"
DEPTH_CAP = 80.0  # metres: the node's max_depth, beyond which it says +Inf; the bag's LiDAR ends at 65.5

_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
_INFO_TYPE = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class Frame:
    """A recorded image, uint8 [H, W, 3] rgb, and its LiDAR depth, float32 [H, W] in metres, NaN where there is none."""

    image: NDArray[np.uint8]
    lidar: NDArray[np.float32]


def read_frames(bag: Path, most: int | None = None) -> list[Frame]:
    """The first `most` frames of the demo's bag (all when None), in the order in which they are played.

    Raises:
        BagError: the bag has other topics, or an image without LiDAR depth.
    """
    images: dict[int, Any] = {}
    lidar: dict[int, Any] = {}
    with open_bag(bag) as opened:
        opened.require(IMAGE_TOPIC, _IMAGE_TYPE)
        opened.require(LIDAR_TOPIC, _IMAGE_TYPE)
        for _, topic, message in opened.messages(IMAGE_TOPIC, LIDAR_TOPIC):
            stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            (images if topic == IMAGE_TOPIC else lidar)[stamp_ns] = message
    if missing := images.keys() - lidar.keys():
        raise BagError(
            f"{bag}: {len(missing)} of {len(images)} images have no message with their stamp on {LIDAR_TOPIC}"
        )
    return [
        Frame(compressed_to_rgb(images[stamp_ns]), _lidar_depth(lidar[stamp_ns].data, bag))
        for stamp_ns in sorted(images)[:most]
    ]


def read_messages(bag: Path, most: int | None = None) -> list[tuple[float, bytes, bytes]]:
    """(seconds since the first, image, camera info) of the first `most` frames, the messages as CDR bytes.

    Raises:
        BagError: the bag has other topics, or not one camera info for each image.
    """
    with open_bag(bag) as opened:
        opened.require(IMAGE_TOPIC, _IMAGE_TYPE)
        opened.require(INFO_TOPIC, _INFO_TYPE)
        images = list(opened.raw(IMAGE_TOPIC))
        infos = {record.stamp_ns: record.message for record in opened.raw(INFO_TOPIC)}
    if missing := [record for record in images if record.stamp_ns not in infos]:
        raise BagError(f"{bag}: {len(missing)} of {len(images)} images have no {INFO_TOPIC} recorded with them")
    start_ns = images[0].stamp_ns
    return [((record.stamp_ns - start_ns) / 1e9, record.message, infos[record.stamp_ns]) for record in images[:most]]


def _lidar_depth(png: NDArray[np.uint8], bag: Path) -> NDArray[np.float32]:
    millimetres = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    if millimetres is None or millimetres.dtype != np.uint16 or millimetres.ndim != 2:
        raise BagError(f"{bag}: {LIDAR_TOPIC} holds something else than 16UC1 images in PNG")
    depth = millimetres * np.float32(0.001)
    depth[millimetres == 0] = np.nan
    return depth
