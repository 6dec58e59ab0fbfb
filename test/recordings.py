"""Writes small bags of generated frames: what a camera, a depth sensor, a LiDAR and an annotator would record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from hybridnet_ros.messages import image_fields
from hybridnet_ros.offline.bag import typestore

IMAGE, INFO = "/camera/image_rect", "/camera/camera_info"
DEPTH, LABELS, LABEL_INFO = "/truth/depth", "/truth/labels", "/truth/label_info"
WIDTH, HEIGHT = 192, 128
START_NS = 1_700_000_000_000_000_000
FRAME = "camera_optical"


class Recording:
    """A bag being written: one method for each kind of message. Stamps are seconds from START_NS."""

    def __init__(self, path: Path, storage: str = "mcap", compression: str = "") -> None:
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self.path = path
        self.types = typestore()
        self.writer = Writer(path, version=8, storage_plugin=plugin)
        if compression:
            self.writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
        self.writer.open()
        self._connections: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def image(self, topic: str, stamp: float, pixels: np.ndarray, encoding: str, frame: str = FRAME) -> None:
        self.write(topic, stamp, "sensor_msgs/msg/Image", frame, **image_fields(pixels, encoding))

    def compressed(self, topic: str, stamp: float, pixels: np.ndarray, extension: str, format_name: str) -> None:
        data = cv2.imencode(extension, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].ravel()
        self.write(topic, stamp, "sensor_msgs/msg/CompressedImage", FRAME, format=format_name, data=data)

    def info(self, topic: str, stamp: float, fx: float, width: int = WIDTH, height: int = HEIGHT) -> None:
        k = np.array([fx, 0, (width - 1) / 2, 0, fx, (height - 1) / 2, 0, 0, 1], np.float64)
        p = np.insert(k.reshape(3, 3), 3, 0, axis=1).ravel()
        roi = self.types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        self.write(topic, stamp, "sensor_msgs/msg/CameraInfo", FRAME, height=height, width=width,
                   distortion_model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3).ravel(), p=p, binning_x=0,
                   binning_y=0, roi=roi)  # fmt: skip

    def points(self, topic: str, stamp: float, xyz: np.ndarray, frame: str) -> None:
        make = self.types.types["sensor_msgs/msg/PointField"]
        points = np.zeros(len(xyz), [("intensity", "<f4"), ("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
        for column, name in enumerate("xyz"):
            points[name] = xyz[:, column]
        fields = [make(name, 4 * i, 7, 1) for i, name in enumerate(("intensity", "x", "y", "z"))]
        self.write(topic, stamp, "sensor_msgs/msg/PointCloud2", frame, height=1, width=len(points), fields=fields,
                   is_bigendian=False, point_step=16, row_step=16 * len(points), data=points.view(np.uint8),
                   is_dense=True)  # fmt: skip

    def static_transform(self, parent: str, child: str, move: tuple[float, ...], turn: tuple[float, ...]) -> None:
        self._transform("/tf_static", 0.0, parent, child, move, turn)

    def transform(
        self, stamp: float, parent: str, child: str, move: tuple[float, ...], turn: tuple[float, ...]
    ) -> None:
        self._transform("/tf", stamp, parent, child, move, turn)

    def _transform(
        self, topic: str, stamp: float, parent: str, child: str, move: tuple[float, ...], turn: tuple[float, ...]
    ) -> None:
        types = self.types.types
        vector, quaternion = types["geometry_msgs/msg/Vector3"](*move), types["geometry_msgs/msg/Quaternion"](*turn)
        transform = types["geometry_msgs/msg/Transform"](vector, quaternion)
        stamped = types["geometry_msgs/msg/TransformStamped"](self._header(stamp, parent), child, transform)
        self._write(topic, stamp, "tf2_msgs/msg/TFMessage", types["tf2_msgs/msg/TFMessage"]([stamped]))

    def label_info(self, topic: str, names: dict[int, str]) -> None:
        make = self.types.types["vision_msgs/msg/VisionClass"]
        classes = [make(*each) for each in names.items()]
        self.write(topic, 0.0, "vision_msgs/msg/LabelInfo", "", class_map=classes, threshold=0.0)

    def write(self, topic: str, stamp: float, kind: str, frame: str, **fields: Any) -> None:
        self._write(topic, stamp, kind, self.types.types[kind](header=self._header(stamp, frame), **fields))

    def _write(self, topic: str, stamp: float, kind: str, message: Any) -> None:
        self.raw(topic, START_NS + round(stamp * 1e9), kind, self.types.serialize_cdr(message, kind))

    def raw(self, topic: str, stamp_ns: int, kind: str, data: bytes | memoryview) -> None:
        if (topic, kind) not in self._connections:
            self._connections[topic, kind] = self.writer.add_connection(topic, kind, typestore=self.types)
        self.writer.write(self._connections[topic, kind], stamp_ns, data)

    def _header(self, stamp: float, frame: str) -> Any:
        seconds, nanoseconds = divmod(START_NS + round(stamp * 1e9), 1_000_000_000)
        time = self.types.types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
        return self.types.types["std_msgs/msg/Header"](time, frame)


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A textured scene that moves by two pixels a frame, dark below and bright above: uint8 [H, W, 3]."""
    random = np.random.default_rng(7)
    texture = cv2.resize(random.integers(0, 90, (24, 90), np.uint8), (720, height), interpolation=cv2.INTER_CUBIC)
    ramp = np.linspace(160, 0, height)[:, None]
    part = texture[:, 2 * number % 400 :][:, :width] + ramp
    return np.repeat(part.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def true_depth(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Dense depth of about the tiny engine's range, in whole millimetres, with a hole and a far corner: float32."""
    rows = np.linspace(60, 1, height)[:, None] + np.linspace(0, 4, width)[None] + 0.1 * number
    depth = (np.rint(rows * 1000) / 1000).astype(np.float32)
    depth[10:20, 10:30] = np.nan
    depth[:4, :4] = 95.0
    return depth


def true_labels(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """0 road below, 1 car in the middle, 2 sky above, and an unlabelled strip: uint8."""
    labels = np.repeat(np.digitize(np.arange(height), [height // 3, 2 * height // 3])[:, None], width, axis=1)
    labels = (2 - labels).astype(np.uint8)
    labels[:, number : number + 9] = 255
    return labels


def write_drive(path: Path, frames: int = 6, rate_hz: float = 10.0, truth: bool = True, **how: str) -> Path:
    """A bag with images, CameraInfo and, with `truth`, depth and labels of the same stamps."""
    with Recording(path, **how) as bag:
        for number in range(frames):
            stamp = number / rate_hz
            bag.info(INFO, stamp, fx=160.0)
            bag.image(IMAGE, stamp, picture(number), "rgb8")
            if truth:
                bag.image(DEPTH, stamp, true_depth(number), "32FC1")
                bag.image(LABELS, stamp, true_labels(number), "mono8")
    return path
