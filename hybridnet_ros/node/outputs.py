"""The publishers of a camera: makes and sends the messages that somebody subscribes to, and no others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from hybridnet_ros.engine.perception import UNLABELLED, View
from hybridnet_ros.messages import fill_points
from hybridnet_ros.node import qos
from hybridnet_ros.node.calibration import Calibrated
from hybridnet_ros.node.direct_images import Outgoing, ThroughRclpy, image
from hybridnet_ros.node.names import OUTPUTS, CameraName
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels
from hybridnet_ros.scene.depth import depth_to_millimetres
from hybridnet_ros.scene.labels import LabelSet

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not among the wheels of pip
    LabelInfo = VisionClass = None

_TYPES: dict[str, Any] = {
    "depth/camera_info": CameraInfo,
    "segmentation/camera_info": CameraInfo,
    "depth/image": Image,
    "segmentation/mask": Image,
    "segmentation/confidence": Image,
    "segmentation/label_info": LabelInfo,
    "segmentation/color": Image,
    "depth/color": Image,
    "points": PointCloud2,
}
_NEEDS_CAMERA = ("depth/camera_info", "segmentation/camera_info", "points")
_LABEL_INFO = "segmentation/label_info"
_READY = ("depth/camera_info", "segmentation/mask", "segmentation/confidence", "segmentation/camera_info")
"""Outputs that are sent as the network leaves them; the others are made first: depth limited, pictures coloured."""


@dataclass
class Answer:
    """What was seen in one image, all arrays at the image's size.

    Attributes:
        header: the image's own header: every output carries it unchanged.
        rgb: uint8 [H, W, 3].
        view: depth, labels and confidence.
        calibrated: the camera, if known.
        classes: what the labels mean.
        shown_depth: metres at the ends of the engine's depth colours.
        settings: the parameters that hold for this frame.
    """

    header: Any
    rgb: NDArray[np.uint8]
    view: View
    calibrated: Calibrated | None
    classes: LabelSet
    shown_depth: tuple[float, float]
    settings: Settings

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """The labels, UNLABELLED where the network is less sure than the parameter min_confidence."""
        return self.view.mask(self.settings.min_confidence)


class Outputs:
    """The publishers of a camera, from configure to cleanup; they are silent while the node is inactive."""

    def __init__(self, node: LifecycleNode, camera: CameraName, on_incompatible: Callable[[str, str], None]) -> None:
        """No publisher yet; `on_incompatible` is told (topic, policy) of subscribers that cannot hear us."""
        self._node = node
        self._camera = camera
        self._on_incompatible = on_incompatible
        self._publishers: dict[str, LifecyclePublisher] = {}
        # The worker publishes while the executor thread changes what there is to publish on.
        self._changing = threading.Lock()
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hybridnet publisher")

    def choose(self, names: Iterable[str], active: bool) -> None:
        """Creates the publishers of `names`, a part of OUTPUTS, and removes all others."""
        if LabelInfo is None:
            self._node.get_logger().info(f"vision_msgs is not installed: ~/{_LABEL_INFO} is not published", once=True)
        chosen = [name for name in OUTPUTS if name in names and _TYPES[name] is not None]
        with self._changing:
            for name in [name for name in self._publishers if name not in chosen]:
                self._node.destroy_lifecycle_publisher(self._publishers.pop(name))
            for name in chosen:
                if name not in self._publishers:
                    self._publishers[name] = self._publisher(name, active)

    def wanted(self) -> list[str]:
        """The outputs of a frame that somebody subscribes to at this moment."""
        with self._changing:
            publishers = self._publishers.items()
            return [name for name, one in publishers if name != _LABEL_INFO and one.get_subscription_count() > 0]

    def publish(self, answer: Answer, wanted: list[str]) -> list[str]:
        """Sends the `wanted` outputs of one frame; returns those of them that there is no CameraInfo for."""
        missing = [name for name in wanted if answer.calibrated is None and name in _NEEDS_CAMERA]
        with self._changing:
            sent = [name for name in wanted if name in self._publishers and name not in missing]
            ready = [self._outgoing(name, answer) for name in sent if name in _READY]
            if len(ready) == len(sent):
                _send(ready)
                return missing
            # To limit and send depth takes as long as to send these: another core's work. What little Python they need
            # is done here, since only one thread runs it at a time.
            beside = self._beside.submit(_send, ready)
            try:
                _send(self._outgoing(name, answer) for name in sent if name not in _READY)
            finally:  # also because the arrays are to be left alone until then
                beside.result()
        return missing

    def publish_labels(self, classes: LabelSet, min_confidence: float) -> None:
        """Sends the names of the classes, latched."""
        with self._changing:
            publisher = self._publishers.get(_LABEL_INFO)
            if publisher is None:
                return
            message = LabelInfo(threshold=min_confidence)
            message.header.stamp = self._node.get_clock().now().to_msg()
            names = [*enumerate(classes.names), (UNLABELLED, "unlabelled")]
            message.class_map = [VisionClass(class_id=number, class_name=name) for number, name in names]
            publisher.publish(message)

    def destroy(self) -> None:
        """Removes the publishers."""
        self.choose((), active=False)

    def _publisher(self, name: str, active: bool) -> LifecyclePublisher:
        topic = self._node.resolve_topic_name(self._camera.output(name))
        publisher = self._node.create_lifecycle_publisher(
            _TYPES[name],
            self._camera.output(name),
            qos.latched() if name == _LABEL_INFO else qos.output(),
            event_callbacks=qos.publisher_events(lambda policy: self._on_incompatible(topic, policy)),
            qos_overriding_options=qos.overridable(),
            callback_group=qos.own_group(),
        )
        if active:  # the node enables only those that are there when it is activated
            publisher.on_activate(None)
        return publisher

    def _outgoing(self, name: str, answer: Answer) -> Outgoing:
        publisher, header, calibrated = self._publishers[name], answer.header, answer.calibrated
        if name == "depth/image" and answer.settings.depth_encoding == "16UC1":
            return image(publisher, depth_to_millimetres(answer.view.depth), "16UC1", header)
        if name in _IMAGES:
            array_of, encoding = _IMAGES[name]
            return image(publisher, array_of(answer), encoding, header)
        assert calibrated is not None, "`publish` leaves it out without a camera"
        if name != "points":
            return calibrated.output_info.outgoing(publisher, header.stamp)
        view, camera = answer.view, calibrated.model
        points = PointCloud2()
        fill_points(points, view.depth, answer.rgb, answer.mask, view.confidence, camera, PointField, header)
        return ThroughRclpy(publisher, points)


def _send(messages: Iterable[Outgoing]) -> None:
    for message in messages:
        message.send()


def _depth_colors(answer: Answer) -> NDArray[np.uint8]:
    return colorize_depth(answer.view.depth, *answer.settings.depth_colors(answer.shown_depth))


@lru_cache(maxsize=4)
def _palette(classes: LabelSet) -> NDArray[np.uint8]:
    return classes.palette()


_IMAGES: dict[str, tuple[Callable[[Answer], NDArray[Any]], str]] = {
    "depth/image": (lambda answer: answer.view.depth, "32FC1"),
    "depth/color": (_depth_colors, "rgb8"),
    "segmentation/mask": (lambda answer: answer.mask, "mono8"),
    "segmentation/confidence": (lambda answer: answer.view.confidence, "mono8"),
    "segmentation/color": (lambda answer: colorize_labels(answer.mask, _palette(answer.classes)), "rgb8"),
}
