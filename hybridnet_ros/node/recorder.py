"""Listens to a running node as any other node would, and keeps its answers and what it says of its health."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from hybridnet_ros.messages import depth_from_image, labels_from_image

OUTPUTS = {
    "depth": ("depth/image", Image),
    "depth_info": ("depth/camera_info", CameraInfo),
    "labels": ("segmentation/mask", Image),
    "confidence": ("segmentation/confidence", Image),
    "labels_info": ("segmentation/camera_info", CameraInfo),
}
"""What makes an answer: the node's topics below its own name, and their types."""


@dataclass(frozen=True)
class Answer:
    """Everything the node published for one image.

    Attributes:
        stamp_ns: stamp of the image and of every part of its answer.
        age_ms: from the stamp to the arrival of the last part here.
        depth: float32 [H, W], metres.
        labels: uint8 [H, W], class ids.
        confidence: uint8 [H, W].
        camera_info: of the depth image.
    """

    stamp_ns: int
    age_ms: float
    depth: NDArray[np.float32]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    camera_info: CameraInfo


@dataclass(frozen=True)
class NodeHealth:
    """The node's newest diagnostic status: a level (0 is good), a sentence, and named values."""

    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


class Recorder:
    """Subscribes to the outputs of a node from a thread and a context of its own.

    `node_name` is fully qualified, as in `/front/hybridnet`.
    """

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._parts: dict[int, dict[str, Any]] = {}
        self._answers: list[Answer] = []
        self._health: NodeHealth | None = None
        self._lock = threading.Lock()

        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("hybridnet_recorder", context=self._context)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        for part, (topic, kind) in OUTPUTS.items():
            self._node.create_subscription(kind, f"{node_name}/{topic}", partial(self._on_part, part), qos)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="recorder", daemon=True)
        self._thread.start()

    @property
    def health(self) -> NodeHealth | None:
        """What the node last said of itself; None before it said anything."""
        with self._lock:
            return self._health

    def take(self) -> list[Answer]:
        """The answers completed since the last call."""
        with self._lock:
            answers, self._answers = self._answers, []
            return answers

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=5)
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _on_part(self, part: str, message: Any) -> None:
        now_ns = time.time_ns()
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        parts = self._parts.setdefault(stamp_ns, {})
        parts[part] = message
        if len(parts) < len(OUTPUTS):
            return
        del self._parts[stamp_ns]
        answer = Answer(
            stamp_ns=stamp_ns,
            age_ms=(now_ns - stamp_ns) / 1e6,
            depth=depth_from_image(parts["depth"]),
            labels=labels_from_image(parts["labels"]),
            confidence=labels_from_image(parts["confidence"]),
            camera_info=parts["depth_info"],
        )
        with self._lock:
            self._answers.append(answer)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._node_name}:"):
                values = {item.key: item.value for item in status.values}
                level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
                with self._lock:
                    self._health = NodeHealth(level, status.message, values)
