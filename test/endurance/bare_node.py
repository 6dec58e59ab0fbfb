"""A lifecycle node of rclpy alone, with the topics of ours: what it grows by, rclpy and the middleware grow by.

    python test/endurance/bare_node.py --ros-args -r __ns:=/bare

From configure to cleanup it has the publishers of our node, from activate to deactivate its subscriptions, and it
answers each image with one on `~/depth/image`; there is no engine, no thread and nothing of ours between them.
"""

from __future__ import annotations

from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from hybridnet_ros.node import qos
from hybridnet_ros.node.names import OUTPUTS
from hybridnet_ros.node.transitions import refuse_wrong_transitions

_ANSWER = "depth/image"
_NOT_IMAGES = {"depth/camera_info": CameraInfo, "segmentation/camera_info": CameraInfo, "points": PointCloud2}


class BareNode(LifecycleNode):
    """Named as ours, so that the same robot can walk it through its lifecycle."""

    def __init__(self) -> None:
        super().__init__("hybridnet")
        refuse_wrong_transitions(self)  # they end an rclpy node
        self._outputs: dict[str, Any] = {}
        self._inputs: list[Any] = []

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Creates the publishers."""
        for name in OUTPUTS:
            if name != "segmentation/label_info":  # of vision_msgs, which is not always there
                kind = _NOT_IMAGES.get(name, Image)
                self._outputs[name] = self.create_lifecycle_publisher(
                    kind, f"~/{name}", qos.output(), callback_group=qos.own_group()
                )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Creates the subscriptions."""
        group = qos.own_group()
        for kind, topic in ((CameraInfo, "camera_info"), (Image, "image"), (CompressedImage, "image/compressed")):
            callback = self._answer if kind is Image else self._ignore
            self._inputs.append(
                self.create_subscription(kind, topic, callback, qos.image_input(), callback_group=group)
            )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroys the subscriptions."""
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroys the publishers."""
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs.clear()
        return super().on_cleanup(state)

    def _answer(self, image: Image) -> None:
        self._outputs[_ANSWER].publish(image)

    def _ignore(self, message: Any) -> None:
        """It has been transported, and that is what it was asked for."""


def main() -> None:
    """Runs the node until SIGINT or SIGTERM."""
    rclpy.init()
    node = BareNode()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
