"""The subscriptions of a camera: images (raw or compressed) and CameraInfo, and the watch over whether they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.messages.camera_infos import CameraInfos
from hybridnet_ros.node import qos
from hybridnet_ros.node.frame import COMPRESSED, RAW, Frame, age_ms
from hybridnet_ros.node.health import Health
from hybridnet_ros.node.names import CameraName
from hybridnet_ros.node.receiver import NotForExecutor, OnMessage, Receiver
from hybridnet_ros.node.sequence import SequenceWatch
from hybridnet_ros.node.troubles import Level

_KINDS = {RAW: Image, COMPRESSED: CompressedImage}
_TYPE_NAMES = {RAW: "sensor_msgs/msg/Image", COMPRESSED: "sensor_msgs/msg/CompressedImage"}


class Inputs:
    """The subscriptions, from activate to deactivate.

    Callbacks note the time and hand the message on, nothing else: they run in the thread that receives.
    """

    def __init__(
        self,
        node: Node,
        camera: CameraName,
        transport: str,
        infos: CameraInfos,
        health: Health,
        on_frame: Callable[[Frame], None],
    ) -> None:
        """Subscribes; `transport` is the parameter input_transport."""
        self._node = node
        self.camera = camera
        self._transport = transport
        self._infos = infos
        self._health = health
        self._on_frame = on_frame
        self._started = time.monotonic()
        self.topics = {RAW: str(node.resolve_topic_name(camera.image))}
        # image_transport looks for compressed images beside wherever the raw ones were remapped to; so do we.
        self.topics[COMPRESSED] = _sibling(node, f"{camera.image}/compressed", self.topics[RAW] + "/compressed")
        self.info_topic = _sibling(node, camera.camera_info, self.topics[RAW].rsplit("/", 1)[0] + "/camera_info")
        self._images: dict[str, Subscription] = {}
        self._unheard: dict[str, float] = {}  # topics with a publisher that we cannot hear, and since when
        self._group = NotForExecutor()
        self._info = self._subscribe(CameraInfo, self.info_topic, qos.camera_info_input())
        self._on_message: dict[Subscription, OnMessage] = {self._info: lambda info, number: infos.add(info)}
        try:
            # Both until one is seen to be published: a bag's first frames must not wait for our choice.
            for kind in (RAW, COMPRESSED) if transport == "auto" else (transport,):
                self._listen(kind)
            self._receiver = self._receive()
        except Exception:  # rclpy's, of a qos_overrides that is none: nothing stays behind
            self._unsubscribe()
            raise

    def destroy(self) -> None:
        """Unsubscribes."""
        self._receiver.stop()
        self._unsubscribe()

    def _unsubscribe(self) -> None:
        for subscription in [self._info, *self._images.values()]:
            self._node.destroy_subscription(subscription)
        self._images.clear()

    def listening_to(self) -> str:
        """The image topics subscribed to, for people."""
        return " and ".join(self.topics[kind] for kind in self._images)

    def camera_info_published(self) -> bool:
        """Whether anybody publishes CameraInfo."""
        return bool(self._node.count_publishers(self.info_topic) > 0)

    def watch(self, image_timeout: float) -> None:
        """Chooses the transport and notices missing images; to be called a few times a second."""
        if self._transport == "auto":
            self._choose_transport()
        for topic in qos.heard_again(self._node, self._unheard):
            self._health.clear_trouble(f"QoS {topic}")
        silence = self._health.seconds_since_image()
        came_before = silence is not None
        if silence is None:
            silence = time.monotonic() - self._started
        log = self._node.get_logger()
        if image_timeout and silence > image_timeout:
            # Said again when the reason changes, as when a publisher comes up that sends nothing.
            text = f"no image on {self.listening_to()} for {image_timeout:g} s: {self._why_no_image()}"
            if self._health.trouble("no image", Level.STALE if came_before else Level.WARN, text):
                log.warning(text)
        elif self._health.clear_trouble("no image"):
            log.info(f"images come on {self.listening_to()} again")

    def _choose_transport(self) -> None:
        """Raw where it is published; a compressed subscription beside it would make the camera compress for nothing."""
        raw_published = bool(self._publishers(RAW))
        if raw_published is (COMPRESSED not in self._images):
            return
        self._receiver.stop()
        if raw_published:
            unused = self._images.pop(COMPRESSED)
            del self._on_message[unused]
            self._node.destroy_subscription(unused)
        else:
            self._listen(COMPRESSED)
        self._receiver = self._receive()

    def _receive(self) -> Receiver:
        return Receiver(self._node.context, self._on_message, self._node.get_logger())

    def _listen(self, kind: str) -> None:
        sequence = SequenceWatch()

        def on_image(message: Any, number: int | None) -> None:
            lost = sequence.lost_before(number)
            if lost:
                self._health.lost(lost)
            now_ns = self._node.get_clock().now().nanoseconds
            self._on_frame(Frame(message, kind, age_ms(message.header.stamp, now_ns), self.camera.name))

        self._images[kind] = self._subscribe(_KINDS[kind], self.topics[kind], qos.image_input())
        self._on_message[self._images[kind]] = on_image

    def _subscribe(self, kind: Any, topic: str, profile: Any) -> Subscription:
        def incompatible(policy: str) -> None:
            text = (
                f"a publisher on {topic} cannot be heard: its QoS policy {policy} is incompatible with ours; "
                f"change it there or with the parameters qos_overrides.{topic}.subscription.*"
            )
            self._unheard[topic] = time.monotonic()
            if self._health.trouble(f"QoS {topic}", Level.WARN, text):
                self._node.get_logger().warning(text)

        return self._node.create_subscription(
            kind,
            topic,
            lambda message: None,  # the receiver has its own
            profile,
            event_callbacks=qos.subscription_events(incompatible),
            qos_overriding_options=qos.overridable(),
            callback_group=self._group,
        )

    def _publishers(self, kind: str) -> list[Any]:
        """Endpoints that publish the right type on the topic of a transport."""
        endpoints = self._node.get_publishers_info_by_topic(self.topics[kind])
        return [endpoint for endpoint in endpoints if endpoint.topic_type == _TYPE_NAMES[kind]]

    def _why_no_image(self) -> str:
        incompatible = [f"QoS {self.topics[kind]}" for kind in self._images]
        if any(self._health.has_trouble(key) for key in incompatible):
            return "the publisher's QoS is incompatible (see the warning above)"
        if any(self._publishers(kind) for kind in self._images):
            return (
                "it has a publisher, which sends nothing or whose messages are lost on the way "
                "(is it paused? are large images lost? see config/fastdds.xml)"
            )
        others = {
            f"{topic} is published as {endpoint.topic_type}"
            for topic in (self.topics[kind] for kind in self._images)
            for endpoint in self._node.get_publishers_info_by_topic(topic)
        }
        if others and not self.topics[RAW].endswith("/compressed"):
            return "; ".join(sorted(others)) + "; see the parameter input_transport"
        if self.topics[RAW].endswith("/compressed"):
            return f"remap {self.camera.image} to the topic without /compressed, which is added here"
        return f"nothing publishes it; {self._image_topics()}"

    def _image_topics(self) -> str:
        own = self._node.get_fully_qualified_name() + "/"
        found = set()
        for topic, types in self._node.get_topic_names_and_types():
            if topic in self.topics.values() or topic.startswith(own):
                continue
            if _TYPE_NAMES[RAW] in types:
                found.add(topic)
            elif _TYPE_NAMES[COMPRESSED] in types and topic.endswith("/compressed"):
                found.add(topic.removesuffix("/compressed"))  # we add it; compressedDepth and others are no pictures
        if not found:
            return "there are no other image topics either: is the camera driver running, in this ROS domain?"
        more = ", ..." if len(found) > 5 else ""
        return f"remap it to one of {', '.join(sorted(found)[:5])}{more} as in -r {self.camera.image}:={min(found)}"


def _sibling(node: Node, topic: str, beside_image: str) -> str:
    """Where `topic` was remapped to; if it was not, its place beside the image, as image_transport has it."""
    resolved = str(node.resolve_topic_name(topic))
    return beside_image if resolved == node.resolve_topic_name(topic, only_expand=True) else resolved
