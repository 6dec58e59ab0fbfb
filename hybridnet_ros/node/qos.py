"""Qualities of service of every topic, and what is said when an endpoint on the other side asks for another one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

_LISTED_AFTER_S = 2.0

# Every function below makes a new profile: rclpy writes the user's overrides into the one it is given.


def image_input() -> QoSProfile:
    """From any camera: best effort hears reliable publishers too.

    Deep enough for the moments in which the executor has something else to do. The mailbox, which counts what it throws
    away, is what makes it the newest image only; the middleware would throw images away without a word.
    """
    return _profile(QoSReliabilityPolicy.BEST_EFFORT, depth=10)


def camera_info_input() -> QoSProfile:
    """A few CameraInfo messages: each may belong to a frame that is still being processed."""
    return _profile(QoSReliabilityPolicy.BEST_EFFORT, depth=5)


def output() -> QoSProfile:
    """Reliable, so that reliable and best effort subscribers both hear; a subscriber chooses how old frames may get.

    Ten are kept for reliable subscribers that stall: at 20 Hz none is lost in half a second, of three many were. Ten
    answers of 720p (5.5 MB each) fit into the shared memory of config/fastdds.xml; the process holds them besides, but
    only once a subscriber has stalled.
    """
    return _profile(QoSReliabilityPolicy.RELIABLE, depth=10)


def latched() -> QoSProfile:
    """The last message, also for subscribers that come later."""
    return _profile(QoSReliabilityPolicy.RELIABLE, depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def heard_again(node: Node, since: dict[str, float]) -> list[str]:
    """Topics on which all hear each other by now: whoever did not has left, or came back with another QoS.

    Args:
        node: that publishes or subscribes.
        since: when (time.monotonic()) each topic was reported; those that are returned are taken out.
    """
    again = []
    for topic, reported in list(since.items()):
        # An endpoint is reported a moment before the graph lists it.
        if time.monotonic() - reported < _LISTED_AFTER_S:
            continue
        pairs = itertools.product(node.get_publishers_info_by_topic(topic), node.get_subscriptions_info_by_topic(topic))
        found = [qos_check_compatible(one.qos_profile, other.qos_profile)[0] for one, other in pairs]
        if QoSCompatibility.ERROR not in found:
            del since[topic]
            again.append(topic)
    return again


def overridable() -> QoSOverridingOptions:
    """Lets the user override history, depth and reliability with `qos_overrides.<topic>...` parameters."""
    return QoSOverridingOptions.with_default_policies()


def own_group() -> MutuallyExclusiveCallbackGroup:
    """A callback group for what is destroyed before the node: a group remembers all that was ever in it."""
    return MutuallyExclusiveCallbackGroup()


def subscription_events(report: Callable[[str], None]) -> Any:
    """Calls `report` with the name of the policy for which a publisher cannot be heard."""
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: report(_policy_name(event)), use_default_callbacks=False
    )


def publisher_events(report: Callable[[str], None]) -> Any:
    """Calls `report` with the name of the policy for which a subscriber cannot hear us."""
    return PublisherEventCallbacks(
        incompatible_qos=lambda event: report(_policy_name(event)), use_default_callbacks=False
    )


def _profile(
    reliability: QoSReliabilityPolicy,
    depth: int,
    durability: QoSDurabilityPolicy = QoSDurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


def _policy_name(event: Any) -> str:
    return str(qos_policy_name_from_kind(event.last_policy_kind))
