"""A listener for benchmarks, in a process of its own: notes when messages were published and when they arrived here.

    python -m hybridnet_ros.node.stopwatch /hybridnet/depth/image:Image ... [--node /hybridnet] [--reliable]

It says `ready` once everything listened to is published. To each line `take` on its standard input it answers with one
line of JSON, {"arrivals": {topic: [[stamp_ns, published_ns, arrived_ns], ...]}, "status": ...}: the messages since the
last `take`, and what --node last said of its health. Both times are the middleware's: the moment at which the
publisher handed the message over, and the one at which it had arrived whole in this process. So they cost
nothing, hold for any publisher alike, and leave out what a subscriber then does with a message.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.memory import keep_image_memory
from hybridnet_ros.node.direct_images import Source

KINDS = {kind.__name__: kind for kind in (Image, CameraInfo, CompressedImage)}

_DEPTH = 30  # more than come in one period
_PERIOD_S = 0.02


class Stopwatch:
    """Subscribes to topics.

    No executor: it would cost as much time as the node that is measured. What came is taken a few dozen times a second;
    the times of arrival are noted by the middleware all the same.
    """

    def __init__(self, topics: list[tuple[str, Any]], node_name: str | None, reliable: bool) -> None:
        """Listens to (topic, message type with a header) and, if given, to the health of the node `node_name`."""
        self._arrivals: dict[str, list[tuple[int, int, int]]] = {topic: [] for topic, _ in topics}
        self._status: dict[str, Any] | None = None
        self._node_name = node_name
        self._node = Node("hybridnet_stopwatch")
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable else
                         ReliabilityPolicy.BEST_EFFORT)  # fmt: skip
        self._subscriptions = {topic: self._subscribe(kind, topic, qos) for topic, kind in topics}
        self._sources = {topic: Source(subscription) for topic, subscription in self._subscriptions.items()}
        self._diagnostics = self._subscribe(DiagnosticArray, "/diagnostics", QoSProfile(depth=_DEPTH))

    def hears(self) -> bool:
        """Whether every topic has a publisher."""
        return all(subscription.get_publisher_count() > 0 for subscription in self._subscriptions.values())

    def collect(self) -> None:
        """Notes what came."""
        for topic, source in self._sources.items():
            while (taken := source.take()) is not None:
                stamp = taken.message.header.stamp
                stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
                self._arrivals[topic].append((stamp_ns, taken.sent_ns, taken.arrived_ns))
        while (taken := self._diagnostics.handle.take_message(DiagnosticArray, False)) is not None:
            self._note(taken[0])

    def take(self) -> dict[str, Any]:
        """What came since the last call, as the module says."""
        self.collect()
        arrivals, self._arrivals = self._arrivals, {topic: [] for topic in self._arrivals}
        return {"arrivals": arrivals, "status": self._status}

    def close(self) -> None:
        """Stops listening."""
        self._node.destroy_node()

    def _subscribe(self, kind: Any, topic: str, qos: QoSProfile) -> Subscription:
        return self._node.create_subscription(kind, topic, lambda message: None, qos)

    def _note(self, message: DiagnosticArray) -> None:
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        for status in message.status:
            if self._node_name is not None and status.name.startswith(f"{self._node_name}:"):
                level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
                values = {item.key: item.value for item in status.values}
                self._status = {"stamp_ns": stamp_ns, "level": level, "message": status.message, "values": values}


def main() -> None:
    """Listens until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="+", metavar="TOPIC:TYPE", help=f"TYPE is one of {', '.join(KINDS)}")
    parser.add_argument("--node", help="fully qualified name of a perception node, whose health is noted")
    parser.add_argument("--reliable", action="store_true", help="ask for reliable delivery; else best effort")
    options = parser.parse_args()
    topics = [(topic, KINDS[kind]) for topic, kind in (text.rsplit(":", 1) for text in options.topics)]
    keep_image_memory()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    stopwatch = Stopwatch(topics, options.node, options.reliable)
    try:
        _listen(stopwatch)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    finally:
        stopwatch.close()
        rclpy.shutdown()


def _listen(stopwatch: Stopwatch) -> None:
    while not stopwatch.hears():
        time.sleep(_PERIOD_S)
    print("ready", flush=True)  # the protocol is standard output itself
    while True:
        stopwatch.collect()
        if select.select([sys.stdin], [], [], _PERIOD_S)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            print(json.dumps(stopwatch.take()), flush=True)


if __name__ == "__main__":
    main()
