"""True depth, and where references are found: depth images and LiDAR clouds, from topics or folders."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError, cloud_xyz, is_rectified, to_depth
from hybridnet_ros.offline.bag import Bag, BagError
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.lidar import lens, project
from hybridnet_ros.offline.sources import Frame, header_of
from hybridnet_ros.offline.transforms import Chain, read_extrinsic, recorded_chain

POINTS = "sensor_msgs/msg/PointCloud2"
_SAME_SHAPE = 0.02  # sides may differ so much from the same aspect ratio, by rounding


@dataclass(frozen=True)
class DepthReference:
    """True depth: from a topic of the bag, or from a folder.

    Attributes:
        topic: Image (32FC1, 16UC1), CompressedImage (16-bit PNG) or PointCloud2.
        folder: files named like the images of a folder, the numbers of a video's frames, or the stamps (ns) of a bag's.
        scale: units a metre of integer pixels in the folder's files; 0 is no depth.
        extrinsic: from a cloud's frame to the camera's optical frame.
        rectified: the images are; a cloud is projected without distortion then.
    """

    topic: str = ""
    folder: str = ""
    scale: float = 1000.0
    extrinsic: Chain | None = None
    rectified: bool = False

    def __str__(self) -> str:
        """Where it comes from, in words."""
        if self.extrinsic is None:
            return f"topic {self.topic}" if self.topic else f"folder {self.folder}"
        lens = "P of CameraInfo, since the image is rectified" if self.rectified else "K and D of CameraInfo"
        moving = ", ".join(f"{joint.child} in {joint.parent}" for joint in self.extrinsic.moving)
        return f"topic {self.topic}, projected by {lens}{f'; moving: {moving}' if moving else ''}"

    def read(self, found: Any, frame: Frame, width: int, height: int) -> NDArray[np.float32]:
        """Depth float32 [h, w] in metres, NaN where there is none, of a message or file.

        Args:
            found: a file, or a message.
            frame: the image that it belongs to, with its CameraInfo for a cloud.
            width, height: of the image in px.

        Raises:
            CameraError: the CameraInfo is not calibrated.
            MessageError: it holds something else, or a cloud cannot be projected.
        """
        if isinstance(found, Path):
            return _depth_file(found, self.scale)
        if not hasattr(found, "point_step"):
            return to_depth(found)
        if frame.info is None or self.extrinsic is None:
            raise MessageError("a cloud can only be projected with the CameraInfo of the image")
        camera = lens(frame.info, width, height, self.rectified)
        stamp_ns = header_of(found, frame.header.stamp_ns).stamp_ns
        transform = self.extrinsic.at(stamp_ns, frame.header.stamp_ns, frame.joints)
        return project(cloud_xyz(found), transform, camera)

    def doubts(self, found: Any, frame: Frame) -> list[str]:
        """What makes a comparison doubtful though it can be made: a depth image in another frame than its image's."""
        if isinstance(found, Path) or hasattr(found, "point_step"):
            return []
        own, other = frame.header.frame_id, found.header.frame_id
        if not own or not other or own == other:
            return []
        return [
            f"depth reference: its frame is {other}, the image's {own}: unless these are one camera, two views were "
            "compared; use a depth image registered to the image"
        ]


class ReferenceFolder:
    """Finds the file that belongs to a frame."""

    def __init__(self, folder: str, tolerance_ns: int) -> None:
        """Lists the folder once.

        Raises:
            EvaluationError: there is no such folder, or it is empty.
        """
        path = Path(folder)
        files = [each for each in path.iterdir() if each.is_file()] if path.is_dir() else []
        if not files:
            raise EvaluationError(f"the reference folder {path} {'is empty' if path.is_dir() else 'does not exist'}")
        self._files = {file.stem: file for file in files}
        numbers = sorted((int(stem), file) for stem, file in self._files.items() if stem.isdigit())
        self._numbers = [number for number, _ in numbers]
        self._numbered = [file for _, file in numbers]
        self._tolerance_ns = tolerance_ns

    def find(self, name: str, stamp_ns: int) -> Path | None:
        """The file with this name; of a frame without name, the one whose name is the nearest stamp."""
        if name:
            return self._files.get(name)
        place = bisect_left(self._numbers, stamp_ns)
        near = [i for i in (place - 1, place) if 0 <= i < len(self._numbers)]
        best = min(near, key=lambda i: abs(self._numbers[i] - stamp_ns), default=None)
        if best is None or abs(self._numbers[best] - stamp_ns) > self._tolerance_ns:
            return None
        return self._numbered[best]


def same_view(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two images [H, W] have the same aspect ratio and so can show the same."""
    return abs(one[1] / one[0] * other[0] / other[1] - 1) <= _SAME_SHAPE


def at_size(prediction: NDArray, shape: tuple[int, int], what: str) -> NDArray:
    """A prediction [H, W] at the size of its reference, so that no reference is ever resampled: nearest pixel.

    Raises:
        MessageError: the two have different shapes and so do not show the same.
    """
    if prediction.shape == shape:
        return prediction
    (height, width), (high, wide) = prediction.shape, shape
    if not same_view(prediction.shape, shape):
        raise MessageError(
            f"the {what} reference is {wide}x{high} and the image {width}x{height}: they do not show the same part of "
            "the scene; use a reference registered to the image"
        )
    return cv2.resize(prediction, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT)


def bag_depth_reference(bag: Bag, topic: str, image_topic: str, extrinsic: Path | None) -> DepthReference:
    """The depth reference on a topic of a bag; for a cloud with its extrinsic, given or recorded on /tf_static and /tf.

    Raises:
        BagError: there is no such topic, or the transform is not recorded.
        EvaluationError: the given extrinsic cannot be read, or the topic has no clouds to use it for.
    """
    kind = next((each.type for each in bag.topics if each.name == topic), "")
    if kind != POINTS:
        require_one_of(bag, topic, ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", POINTS))
        if extrinsic is not None:
            raise EvaluationError(f"{topic} has images: --extrinsic is for clouds, a depth image must be registered")
        return DepthReference(topic)
    require_one_of(bag, topic, (POINTS,))
    rectified = is_rectified(image_topic)
    if extrinsic is not None:
        return DepthReference(topic, extrinsic=read_extrinsic(extrinsic), rectified=rectified)
    frames = [next(bag.messages(name)).message.header.frame_id for name in (topic, image_topic)]
    return DepthReference(topic, extrinsic=recorded_chain(bag, *frames), rectified=rectified)


def require_one_of(bag: Bag, name: str, kinds: tuple[str, ...]) -> None:
    """Refuses a topic that is not in the bag, or is of none of the `kinds`; BagError lists what there is."""
    fitting = [topic for topic in bag.topics if topic.type in kinds and topic.count]
    if not any(topic.name == name for topic in fitting):
        raise BagError(
            f"{bag.path}: {name} is no reference topic; topics of a fitting type are: "
            f"{', '.join(map(str, fitting)) or 'none'}"
        )


def _depth_file(path: Path, scale: float) -> NDArray[np.float32]:
    if path.suffix == ".npy":
        try:
            stored = np.load(path)
        except (OSError, ValueError) as error:
            raise MessageError(f"{path} is no NumPy array: {error}") from None
    else:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2:
        raise MessageError(f"{path} is no depth image with one channel")
    if stored.dtype.kind == "f":
        return stored.astype(np.float32)
    depth = (stored / scale).astype(np.float32)
    depth[stored == 0] = np.nan
    return depth
