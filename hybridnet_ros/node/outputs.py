"""The node's publishers: makes and sends the messages that somebody subscribes to, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from hybridnet_ros.engine.perception import UNLABELLED, View
from hybridnet_ros.messages import fill_camera_info, fill_image, fill_points
from hybridnet_ros.node import qos
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.scene.camera import CameraModel
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels
from hybridnet_ros.scene.depth import depth_to_millimetres
from hybridnet_ros.scene.labels import LabelSet

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not among the wheels of pip
    LabelInfo = VisionClass = None

_NEEDS_CAMERA = ("depth/camera_info", "segmentation/camera_info", "points")
_TOPICS = {
    # CameraInfo first: consumers that pair it with an image find it there when the image comes.
    "depth/camera_info": CameraInfo,
    "segmentation/camera_info": CameraInfo,
    "depth/image": Image,
    "segmentation/mask": Image,
    "segmentation/confidence": Image,
    "segmentation/color": Image,
    "depth/color": Image,
    "points": PointCloud2,
}


@dataclass
class Answer:
    """What was seen in one image, all arrays at the image's size.

    Attributes:
        header: the image's own header: every output carries it unchanged.
        rgb: uint8 [H, W, 3].
        view: depth, labels and confidence.
        info: the CameraInfo of this image, if known.
        camera: the pinhole camera made of it.
        settings: the parameters that hold for this frame.
    """

    header: Any
    rgb: NDArray[np.uint8]
    view: View
    info: Any | None
    camera: CameraModel | None
    settings: Settings

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The labels, UNLABELLED where the network is less sure than the parameter min_confidence."""
        return self.view.mask(self.settings.min_confidence)


class Outputs:
    """The publishers, from configure to cleanup; they are silent while the node is inactive."""

    def __init__(self, node: LifecycleNode, labels: LabelSet, on_incompatible: Callable[[str, str], None]) -> None:
        """Creates the publishers; `on_incompatible` is told (topic, policy) of subscribers that cannot hear us."""
        self._node = node
        self._labels = labels
        self._palette = labels.palette()
        self._publishers: dict[str, LifecyclePublisher] = {}
        for name, kind in _TOPICS.items():
            self._publishers[name] = self._publisher(kind, name, qos.output(), on_incompatible)
        self._label_info: LifecyclePublisher | None = None
        if LabelInfo is None:
            node.get_logger().info(
                "vision_msgs is not installed: ~/segmentation/label_info is not published", once=True
            )
        else:
            self._label_info = self._publisher(LabelInfo, "segmentation/label_info", qos.latched(), on_incompatible)

    def wanted(self) -> list[str]:
        """The outputs that somebody subscribes to at this moment."""
        return [name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0]

    def publish(self, answer: Answer, wanted: list[str]) -> list[str]:
        """Sends the `wanted` outputs of one frame; returns those of them that there is no CameraInfo for."""
        missing = []
        for name in wanted:
            if answer.camera is None and name in _NEEDS_CAMERA:
                missing.append(name)
            else:
                self._publishers[name].publish(self._message(name, answer))
        return missing

    def publish_labels(self, min_confidence: float) -> None:
        """Sends the names of the classes, latched."""
        if self._label_info is None:
            return
        message = LabelInfo(threshold=min_confidence)
        message.header.stamp = self._node.get_clock().now().to_msg()
        names = [*enumerate(self._labels.names), (UNLABELLED, "unlabelled")]
        message.class_map = [VisionClass(class_id=number, class_name=name) for number, name in names]
        self._label_info.publish(message)

    def destroy(self) -> None:
        """Removes the publishers."""
        for publisher in [*self._publishers.values(), *([self._label_info] if self._label_info else [])]:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
        self._label_info = None

    def _publisher(
        self, kind: Any, name: str, profile: Any, on_incompatible: Callable[[str, str], None]
    ) -> LifecyclePublisher:
        topic = self._node.resolve_topic_name(f"~/{name}")
        return self._node.create_lifecycle_publisher(
            kind,
            f"~/{name}",
            profile,
            event_callbacks=qos.publisher_events(lambda policy: on_incompatible(topic, policy)),
            qos_overriding_options=qos.overridable(),
        )

    def _message(self, name: str, answer: Answer) -> Any:
        header, settings, camera = answer.header, answer.settings, answer.camera
        if name in ("depth/camera_info", "segmentation/camera_info"):
            height, width = answer.view.labels.shape
            return fill_camera_info(CameraInfo(), answer.info, header, width, height)
        if name == "depth/image":
            if settings.depth_encoding == "16UC1":
                return fill_image(Image(), depth_to_millimetres(answer.view.depth), "16UC1", header)
            return fill_image(Image(), answer.view.depth, "32FC1", header)
        if name == "segmentation/mask":
            return fill_image(Image(), answer.mask, "mono8", header)
        if name == "segmentation/confidence":
            return fill_image(Image(), answer.view.confidence, "mono8", header)
        if name == "segmentation/color":
            return fill_image(Image(), colorize_labels(answer.mask, self._palette), "rgb8", header)
        if name == "depth/color":
            colors = colorize_depth(answer.view.depth, settings.color_min_depth, settings.color_max_depth)
            return fill_image(Image(), colors, "rgb8", header)
        assert name == "points" and camera is not None, "`publish` leaves it out without a camera"
        view = answer.view
        return fill_points(
            PointCloud2(), view.depth, answer.rgb, answer.mask, view.confidence, camera, PointField, header
        )
