"""Writes predictions to a bag with the node's topics, types and stamps, so that it plays beside the recording."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from hybridnet_ros.engine import Manifest
from hybridnet_ros.engine.perception import UNLABELLED, View
from hybridnet_ros.messages import camera_info_fields, cloud_fields, image_fields, make_points
from hybridnet_ros.offline.bag import typestore
from hybridnet_ros.offline.sources import Frame
from hybridnet_ros.offline.streams import CAMERA_INFO
from hybridnet_ros.scene.camera import CameraModel
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels
from hybridnet_ros.scene.depth import depth_to_millimetres

_IMAGE, _POINTS, _LABELS = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2", "vision_msgs/msg/LabelInfo"
_NODE = "hybridnet"


@dataclass(frozen=True)
class Outputs:
    """What is written, apart from depth, mask, confidence, their CameraInfo and LabelInfo.

    Attributes:
        depth_encoding: 32FC1 or 16UC1, as the node's parameter.
        colors: also the pictures for people.
        points: also the cloud.
        compress: with zstd; a third of the size, and slower.
    """

    depth_encoding: str = "32FC1"
    colors: bool = False
    points: bool = False
    compress: bool = False


class PredictionWriter:
    """Writes one MCAP file, a part of a prediction bag; `finish_bag` makes a bag of them."""

    def __init__(
        self, path: Path, record: Path, namespace: str, engine: Manifest, min_confidence: float, outputs: Outputs
    ) -> None:
        """Begins the file `path`, there only after `close`, and its metadata `record`."""
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._path, self._record = path, record
        self._folder = path.with_suffix("")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._types = typestore()
        self._prefix = f"{namespace.rstrip('/')}/{_NODE}"
        self._outputs = outputs
        self._min_confidence = min_confidence
        self._engine, self._palette = engine, engine.labels.palette()
        # Version 8 of the metadata is read by every ROS 2 distribution.
        self._writer = Writer(self._folder, version=8, storage_plugin=StoragePlugin.MCAP)
        if outputs.compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def write(self, frame: Frame, rgb: Any, view: View, camera: CameraModel | None) -> None:
        """Writes the outputs of one frame, with its stamp and frame_id."""
        header, height, width = self._header(frame), *view.labels.shape
        if frame.info is not None and camera is not None:
            for name in ("depth/camera_info", "segmentation/camera_info"):
                info = camera_info_fields(frame.info, width, height)
                self._write(name, CAMERA_INFO, frame.recorded_ns, header, info)
        mask = view.mask(self._min_confidence)
        if self._outputs.depth_encoding == "16UC1":
            depth = image_fields(depth_to_millimetres(view.depth), "16UC1")
        else:
            depth = image_fields(view.depth, "32FC1")
        images = {
            "depth/image": depth,
            "segmentation/mask": image_fields(mask, "mono8"),
            "segmentation/confidence": image_fields(view.confidence, "mono8"),
        }
        if self._outputs.colors:
            images["segmentation/color"] = image_fields(colorize_labels(mask, self._palette), "rgb8")
            images["depth/color"] = image_fields(colorize_depth(view.depth, *self._engine.shown_depth), "rgb8")
        for name, fields in images.items():
            self._write(name, _IMAGE, frame.recorded_ns, header, fields)
        if self._outputs.points and camera is not None:
            points = make_points(view.depth, rgb, mask, view.confidence, camera)
            cloud = cloud_fields(points, self._types.types["sensor_msgs/msg/PointField"])
            self._write("points", _POINTS, frame.recorded_ns, header, cloud)

    def write_labels(self, start_ns: int) -> None:
        """Writes the names of the classes, latched; once in a bag, at its beginning."""
        make = self._types.types["vision_msgs/msg/VisionClass"]
        names = [*enumerate(self._engine.labels.names), (UNLABELLED, "unlabelled")]
        fields = {"class_map": [make(*each) for each in names], "threshold": self._min_confidence}
        header = self._make_header(start_ns, "")
        self._write("segmentation/label_info", _LABELS, start_ns, header, fields, latched=True)

    def close(self) -> None:
        """Completes the file and puts it in its place."""
        self._writer.close()
        (self._folder / f"{self._folder.name}.mcap").replace(self._path)
        (self._folder / "metadata.yaml").replace(self._record)
        self._folder.rmdir()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the file, or after an error removes what there is of it, which also makes room on a full disk."""
        if error is None:
            try:
                self.close()
                return
            except OSError:
                self._remove()
                raise
        self._remove()

    def _remove(self) -> None:
        self._writer.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _header(self, frame: Frame) -> Any:
        if frame.message_header is not None:
            return frame.message_header
        return self._make_header(frame.header.stamp_ns, frame.header.frame_id)

    def _make_header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self._types.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
        return self._types.types["std_msgs/msg/Header"](stamp, frame_id)

    def _write(
        self, name: str, kind: str, recorded_ns: int, header: Any, fields: dict[str, Any], latched: bool = False
    ) -> None:
        if name not in self._connections:
            self._connections[name] = self._writer.add_connection(
                f"{self._prefix}/{name}",
                kind,
                typestore=self._types,
                offered_qos_profiles=_latched() if latched else (),
            )
        message = self._types.types[kind](header=header, **fields)
        self._writer.write(self._connections[name], recorded_ns, self._types.serialize_cdr(message, kind))


def finish_bag(folder: Path, parts: dict[Path, Path]) -> None:
    """Makes one bag of the files in `folder`, given with the metadata of each in recorded order."""
    each = [yaml.safe_load(record.read_text())["rosbag2_bagfile_information"] for record in parts.values()]
    files: list[dict[str, Any]] = []
    topics: dict[str, dict[str, Any]] = {}
    for path, part in zip(parts, each, strict=True):
        files.append({**part["files"][0], "path": path.name})
        for topic in part["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            count = topics[name]["message_count"] if name in topics else 0
            topics[name] = {**topic, "message_count": count + topic["message_count"]}
    start = min(part["starting_time"]["nanoseconds_since_epoch"] for part in each)
    ends = (part["starting_time"]["nanoseconds_since_epoch"] + part["duration"]["nanoseconds"] for part in each)
    whole = {
        **each[0],
        "relative_file_paths": [file["path"] for file in files],
        "files": files,
        "starting_time": {"nanoseconds_since_epoch": start},
        "duration": {"nanoseconds": max(ends) - start},
        "message_count": sum(part["message_count"] for part in each),
        "topics_with_message_count": [topics[name] for name in sorted(topics)],
    }
    temporary = folder / "metadata.yaml.tmp"
    temporary.write_text(yaml.safe_dump({"rosbag2_bagfile_information": whole}, sort_keys=False))
    temporary.replace(folder / "metadata.yaml")


def _latched() -> list[Any]:
    """Quality of service that makes a player publish LabelInfo as the node does; the other topics' is the default."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(2147483647, 4294967295)
    return [
        Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, never, never,
            QosLiveliness.AUTOMATIC, never, False)
    ]  # fmt: skip
