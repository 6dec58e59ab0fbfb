"""What predictions are measured against: depth images, LiDAR clouds and label images, from topics or folders."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError, cloud_xyz, to_depth, to_labels
from hybridnet_ros.offline.bag import Bag, BagError
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.extrinsic import Matrix, read_extrinsic, recorded_transform
from hybridnet_ros.resources import ResourceError, share_path
from hybridnet_ros.scene.camera import CameraModel
from hybridnet_ros.scene.labels import LabelError, LabelSet

POINTS = "sensor_msgs/msg/PointCloud2"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
_REMEMBERED = 1000
_NEAREST_POINT = 0.1  # metres before the camera: what is nearer is the robot itself
_SAME_SHAPE = 0.02  # sides may differ so much from the same aspect ratio, by rounding


class Nearest:
    """The last messages of a topic, to find the one nearest to a stamp."""

    def __init__(self, tolerance_ns: int) -> None:
        """Finds what is at most `tolerance_ns` away."""
        self._tolerance_ns = tolerance_ns
        self._stamps: deque[int] = deque(maxlen=_REMEMBERED)
        self._messages: deque[Any] = deque(maxlen=_REMEMBERED)

    def add(self, stamp_ns: int, message: Any) -> None:
        """Remembers a message."""
        self._stamps.append(stamp_ns)
        self._messages.append(message)

    def find(self, stamp_ns: int) -> Any | None:
        """The message nearest to `stamp_ns`, the earlier of two; what is too old for any later stamp is forgotten."""
        while self._stamps and self._stamps[0] < stamp_ns - self._forget_ns:
            self._stamps.popleft()
            self._messages.popleft()
        best = min(range(len(self._stamps)), key=lambda i: abs(self._stamps[i] - stamp_ns), default=None)
        if best is None or abs(self._stamps[best] - stamp_ns) > self._tolerance_ns:
            return None
        return self._messages[best]

    @property
    def _forget_ns(self) -> int:
        # Stamps need not ascend from message to message; ten tolerances and a second are more than any shuffle.
        return 10 * self._tolerance_ns + 1_000_000_000


@dataclass(frozen=True)
class DepthReference:
    """True depth: from a topic of the bag, or from a folder.

    Attributes:
        topic: Image (32FC1, 16UC1), CompressedImage (16-bit PNG) or PointCloud2.
        folder: files named like the images of a folder, the numbers of a video's frames, or the stamps (ns) of a bag's.
        scale: units a metre of integer pixels in the folder's files; 0 is no depth.
        extrinsic: 3 x 4, takes points from a cloud's frame to the camera's optical frame.
    """

    topic: str = ""
    folder: str = ""
    scale: float = 1000.0
    extrinsic: Matrix | None = None

    def __str__(self) -> str:
        """Where it comes from, in words."""
        lidar = ", projected" if self.extrinsic is not None else ""
        return f"topic {self.topic}{lidar}" if self.topic else f"folder {self.folder}"

    def read(self, found: Any, camera: CameraModel | None) -> NDArray[np.float32]:
        """Depth float32 [h, w] in metres, NaN where there is none, of a message or file.

        Raises:
            MessageError: it holds something else.
        """
        if isinstance(found, Path):
            return _depth_file(found, self.scale)
        if not hasattr(found, "point_step"):
            return to_depth(found)
        if camera is None or self.extrinsic is None:
            raise MessageError("a cloud can only be projected with the CameraInfo of the image")
        return project(cloud_xyz(found), np.array(self.extrinsic), camera)


@dataclass(frozen=True)
class LabelReference:
    """True labels: from a topic of the bag, or from a folder (see DepthReference).

    Attributes:
        topic: Image (mono8) or CompressedImage (8-bit PNG).
        folder: 8-bit grey PNG files.
        labels: the classes that are compared.
        from_pixels: for each of the 256 values of the reference's pixels its class, or `labels.ignore`.
        from_engine: for each class id of the engine the class, or `labels.ignore`.
        meaning: where the classes are taken from, in words.
    """

    labels: LabelSet
    from_pixels: tuple[int, ...]
    from_engine: tuple[int, ...]
    meaning: str
    topic: str = ""
    folder: str = ""

    def __str__(self) -> str:
        """Where it comes from, in words."""
        return f"{f'topic {self.topic}' if self.topic else f'folder {self.folder}'}, classes {self.meaning}"

    def read(self, found: Any) -> NDArray[np.uint8]:
        """Classes uint8 [h, w] of a message or file; MessageError where it holds something else."""
        if isinstance(found, Path):
            pixels = cv2.imread(str(found), cv2.IMREAD_UNCHANGED)
            if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2:
                raise MessageError(f"{found} is no 8-bit grey image of class ids")
        else:
            pixels = to_labels(found)
        return np.asarray(cv2.LUT(pixels, np.array(self.from_pixels, np.uint8)), np.uint8)


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


def project(points: NDArray[np.float64], extrinsic: NDArray[np.float64], camera: CameraModel) -> NDArray[np.float32]:
    """Depth float32 [H, W] of points [N, 3] seen by `camera`, NaN where there is none; the nearest point of a pixel."""
    x, y, z = extrinsic[:, :3] @ points.T + extrinsic[:, 3:]
    seen = z > _NEAREST_POINT  # also false for nan
    x, y, z = x[seen], y[seen], z[seen]
    column = np.rint(x / z * camera.fx + camera.cx)
    row = np.rint(y / z * camera.fy + camera.cy)
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    order = np.argsort(-z[inside], kind="stable")  # the nearest is written last and stays
    depth = np.full((camera.height, camera.width), np.nan, np.float32)
    depth[row[inside][order].astype(int), column[inside][order].astype(int)] = z[inside][order]
    return depth


def at_size(prediction: NDArray, shape: tuple[int, int], what: str) -> NDArray:
    """A prediction [H, W] at the size of its reference, so that no reference is ever resampled: nearest pixel.

    Raises:
        MessageError: the two have different shapes and so do not show the same.
    """
    if prediction.shape == shape:
        return prediction
    (height, width), (high, wide) = prediction.shape, shape
    if abs(wide / high * height / width - 1) > _SAME_SHAPE:
        raise MessageError(
            f"the {what} reference is {wide}x{high} and the image {width}x{height}: they do not show the same part of "
            "the scene; use a reference registered to the image"
        )
    return cv2.resize(prediction, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT)


def bag_depth_reference(bag: Bag, topic: str, image_topic: str, extrinsic: Path | None) -> DepthReference:
    """The depth reference on a topic of a bag; for a cloud with its extrinsic, given or recorded on /tf_static.

    Raises:
        BagError: there is no such topic, or the transform is not recorded.
        EvaluationError: the given extrinsic cannot be read.
    """
    kind = next((each.type for each in bag.topics if each.name == topic), "")
    if kind != POINTS:
        require_one_of(bag, topic, ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", POINTS))
        return DepthReference(topic)
    require_one_of(bag, topic, (POINTS,))
    if extrinsic is not None:
        return DepthReference(topic, extrinsic=read_extrinsic(extrinsic))
    frames = [next(bag.messages(name)).message.header.frame_id for name in (topic, image_topic)]
    return DepthReference(topic, extrinsic=recorded_transform(bag, *frames))


def require_one_of(bag: Bag, name: str, kinds: tuple[str, ...]) -> None:
    """Refuses a topic that is not in the bag, or is of none of the `kinds`; BagError lists what there is."""
    fitting = [topic for topic in bag.topics if topic.type in kinds and topic.count]
    if not any(topic.name == name for topic in fitting):
        raise BagError(
            f"{bag.path}: {name} is no reference topic; topics of a fitting type are: "
            f"{', '.join(map(str, fitting)) or 'none'}"
        )


def label_reference(
    engine: LabelSet, mapping: str, bag: Bag | None = None, topic: str = "", folder: str = ""
) -> LabelReference:
    """The label reference on a topic or in a folder, its pixels' meaning found in this order.

    `mapping`: the name of a shipped label set or a YAML file: a label set as in config/labels, with `from_NAME` for an
    engine with other classes, or a plain mapping from pixel values to names of the engine's classes.
    The bag's LabelInfo. The engine's own class ids.

    Raises:
        BagError: there is no such topic.
        EvaluationError: the mapping cannot be read or does not fit the engine.
    """
    if bag is not None:
        require_one_of(bag, topic, ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"))
    where = {"topic": topic, "folder": folder}
    own = tuple(range(len(engine))) + (engine.ignore,) * (256 - len(engine))
    if mapping:
        path = _label_file(mapping)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(data, Mapping):
                raise LabelError("no mapping")
            if "names" not in data:
                named = {int(value): str(name) for value, name in data.items()}
                return LabelReference(engine, _by_name(engine, named, strict=True), own, f"by {path.name}", **where)
            theirs = LabelSet.from_dict(data)
            same = theirs.names == engine.names
            from_engine = own if same else tuple(theirs.mapping_from(engine.name).tolist())
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise EvaluationError(f"cannot use the classes in {path}: {error}") from None
        pixels = tuple(range(len(theirs))) + (theirs.ignore,) * (256 - len(theirs))
        return LabelReference(theirs, pixels, from_engine, f"of {theirs.name}", **where)
    if bag is not None and (info_topic := _label_info_topic(bag, topic)):
        info = next(bag.messages(info_topic)).message
        named = {each.class_id: each.class_name for each in info.class_map}
        pixels = _by_name(engine, named, strict=False)
        if all(value == engine.ignore for value in pixels):
            raise EvaluationError(
                f"{bag.path}: none of the classes on {info_topic} ({', '.join(named.values())}) is one of the "
                f"engine's ({', '.join(engine.names)}): give a mapping with --classes"
            )
        return LabelReference(engine, pixels, own, f"by {info_topic}", **where)
    return LabelReference(engine, own, own, "ids as the engine's", **where)


def _by_name(engine: LabelSet, named: Mapping[int, str], strict: bool) -> tuple[int, ...]:
    pixels = [engine.ignore] * 256
    for value, name in named.items():
        if 0 <= value < 256 and (strict or name in engine.names):
            pixels[value] = engine.index(name)
    return tuple(pixels)


def _label_file(mapping: str) -> Path:
    if mapping.endswith((".yaml", ".yml")):
        return Path(mapping)
    try:
        return share_path("config", "labels", f"{mapping}.yaml")
    except ResourceError:
        folder = share_path("config", "labels")
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise EvaluationError(f"no label set is called {mapping!r}: choose {names}, or give a .yaml file") from None


def _label_info_topic(bag: Bag, topic: str) -> str:
    """The LabelInfo that goes with a label topic: the one beside it, else the only one."""
    infos = [each.name for each in bag.topics if each.type == LABEL_INFO and each.count]
    beside = [name for name in infos if name.rpartition("/")[0] == topic.removesuffix("/compressed").rpartition("/")[0]]
    chosen = beside or infos
    return chosen[0] if len(chosen) == 1 else ""


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
