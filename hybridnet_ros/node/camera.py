"""One camera of the node: what it is called, what it hears, publishes and remembers, and how it fares."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from hybridnet_ros.messages.camera_infos import CameraInfos
from hybridnet_ros.node import qos
from hybridnet_ros.node.calibration import Calibration
from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.health import Drop, Health
from hybridnet_ros.node.inputs import Inputs
from hybridnet_ros.node.mailbox import Mailbox
from hybridnet_ros.node.names import CameraName
from hybridnet_ros.node.outputs import Outputs
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.troubles import Level

_CLOCKS_APART_MS = 10_000.0


class Camera:
    """A camera, for as long as the node has it; it publishes from configure to cleanup, and hears while active.

    Attributes:
        names: the same with its topics.
        name: as in the topics of its outputs; "" for the only camera of a node.
        health: its frames and troubles.
        outputs: its publishers.
        size: (width, height) of its last image that was answered.
        inputs, calibration: its subscriptions and the use of its CameraInfo; None while the node is not active.
    """

    def __init__(self, node: LifecycleNode, names: CameraName, settings: Callable[[], Settings]) -> None:
        """A camera without subscriptions and publishers; `settings` are the parameters at present."""
        self.name = names.name
        self.health = Health()
        self.outputs = Outputs(node, names, self._on_incompatible_subscriber)
        self.inputs: Inputs | None = None
        self.calibration: Calibration | None = None
        self.size: tuple[int, int] | None = None
        self._node = node
        self.names = names
        self._settings = settings
        self._limiter = RateLimiter()
        self._unstamped = False
        self._clock_said = ""
        self._unheard: dict[str, float] = {}  # topics with a subscriber that cannot hear us, and since when

    def subscribe(self, mailbox: Mailbox[Frame]) -> None:
        """From now on images go into `mailbox`."""
        infos = CameraInfos()
        self._limiter = RateLimiter()
        self.health.start_afresh()

        def on_frame(frame: Frame) -> None:
            """Called in the thread that receives, for each image."""
            self.health.received(frame)
            stamp = frame.message.header.stamp
            self._unstamped = stamp.sec == 0 and stamp.nanosec == 0
            if not self._limiter.lets_through(frame.received_ns, self._settings().max_rate):
                self.health.dropped(Drop.RATE_LIMIT)
            elif mailbox.put(frame, self.name) is not None:
                self.health.dropped(Drop.REPLACED)

        transport = self._settings().input_transport
        self.inputs = Inputs(self._node, self.names, transport, infos, self.health, on_frame)
        self.calibration = Calibration(self.inputs, infos, self.health, self._node.get_logger())

    def unsubscribe(self) -> None:
        """No image is heard after this."""
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None

    def watch(self) -> None:
        """Notices missing images, clocks that are apart and who hears us again; to be called a few times a second."""
        for topic in qos.heard_again(self._node, self._unheard):
            self.health.clear_trouble(f"QoS {topic}")
        if self.inputs is None:
            return
        self.inputs.watch(self._settings().image_timeout)
        kind, text = self._clock_trouble()
        if not kind:
            if self.health.clear_trouble("clock"):
                self.health.forget_ages()  # those of wrong stamps would be in the percentiles for a long time
        elif kind != self._clock_said or not self.health.has_trouble("clock"):
            self.health.trouble("clock", Level.WARN, text)
            self._node.get_logger().warning(text)
        self._clock_said = kind

    def _clock_trouble(self) -> tuple[str, str]:
        """What is wrong with the stamps of the images or with this node's clock: its kind, and in words; or nothing."""
        if self.health.seconds_since_image() is None:
            return "", ""
        if self._node.get_clock().now().nanoseconds == 0:
            return "no time", (
                "use_sim_time is set, but no time comes on /clock, so that ages are unknown: play the bag with --clock"
            )
        if self._unstamped:
            return "no stamp", (
                "the images have no stamp (it is 0), so that ages are unknown and nobody can tell which outputs of "
                "other nodes belong to ours: have the camera driver set it"
            )
        age_ms = self.health.input_age_ms()
        if age_ms is None or abs(age_ms) < _CLOCKS_APART_MS:
            return "", ""
        kind = "behind" if age_ms > 0 else "ahead of"
        return kind, (
            f"image stamps are {abs(age_ms) * 1e-3:.0f} s {kind} this node's clock, so that ages mean nothing: play "
            "bags with --clock and set use_sim_time, or synchronise the clocks"
        )

    def _on_incompatible_subscriber(self, topic: str, policy: str) -> None:
        text = f"a subscriber on {topic} cannot hear us: its QoS policy {policy} is incompatible with ours"
        self._unheard[topic] = time.monotonic()
        # The publishers live on when the node is deactivated, and the middleware says it of each subscriber once.
        if self.health.trouble(f"QoS {topic}", Level.WARN, text, lasting=True):
            self._node.get_logger().warning(text)


class RateLimiter:
    """Lets so many frames through in a second, evenly: 20 of 30 at 20 Hz, and not 15."""

    def __init__(self) -> None:
        self._due_ns = 0.0
        self._last_ns = 0

    def lets_through(self, now_ns: int, max_rate: float) -> bool:
        """Whether a frame that came at `now_ns` is among the `max_rate` a second; 0 lets all through."""
        if max_rate <= 0:
            return True
        period_ns = 1e9 / max_rate
        due_ns = min(self._due_ns, self._last_ns + 1.5 * period_ns)  # a higher rate than before holds at once
        if now_ns < due_ns:
            return False
        self._last_ns = now_ns
        self._due_ns = max(due_ns + period_ns, now_ns + period_ns / 2)
        return True
