"""A thread that takes messages the moment they come.

An rclpy executor goes through everything that a node has, in Python, before and after each wait: two milliseconds for
this node, twice for an image that comes right after its CameraInfo. Here a thread waits for a few subscriptions alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, cast

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.subscription import Subscription

from hybridnet_ros.node.direct_images import Source

OnMessage = Callable[[Any, "int | None"], None]
"""Is given a message and the number that its publisher gave it, if known."""


class NotForExecutor(MutuallyExclusiveCallbackGroup):
    """A callback group whose subscriptions are left to a `Receiver`.

    Their QoS events are, too: to the middleware both are one condition, and an executor that waited for the events
    would be woken by each message.
    """

    def can_execute(self, entity: Any) -> bool:
        """Whether the executor may wait for `entity`: never."""
        return False


class Receiver:
    """Waits for subscriptions that are `NotForExecutor`, in a thread of its own, until it is stopped."""

    def __init__(self, context: Context, on_message: Mapping[Subscription, OnMessage], log: Any) -> None:
        """Starts the thread; what `on_message` has for a subscription is called in it for each of its messages."""
        self._context = context
        self._on_message = dict(on_message)
        # rclpy declares the list as one of its items.
        self._events = [event for one in on_message for event in cast("list[Any]", one.event_handlers)]
        self._log = log
        self._stopped = False
        self._stop = GuardCondition(None, None, context=context)
        # A daemon, so that a process that dies without having stopped it is not kept alive.
        self._thread = threading.Thread(target=self._run, name="hybridnet receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; no message is handed over after this returns."""
        self._stopped = True
        self._stop.trigger()
        self._thread.join()
        self._stop.destroy()

    def _run(self) -> None:
        with ExitStack() as used:
            handles = [subscription.handle for subscription in self._on_message]
            for one in (self._context.handle, self._stop.handle, *handles, *self._events):
                used.enter_context(one)
            sizes = len(handles), 1, 0, 0, 0, len(self._events)
            waits = rclpy_implementation.WaitSet(*sizes, self._context.handle)
            sources = {subscription: Source(subscription) for subscription in self._on_message}
            while not self._stopped:
                waits.clear_entities()
                for handle in handles:
                    waits.add_subscription(handle)
                waits.add_guard_condition(self._stop.handle)
                for event in self._events:
                    event.add_to_wait_set(waits)
                waits.wait(-1)
                ready = waits.get_ready_entities("subscription")
                for subscription, on_message in self._on_message.items():
                    if subscription.handle.pointer in ready:
                        self._take(sources[subscription], on_message)
                for event in self._events:
                    if event.is_ready(waits):
                        happened = event.take_data()
                        if happened:
                            event.callback(happened)

    def _take(self, source: Source, on_message: OnMessage) -> None:
        """Hands over what there is now; a message that cannot be read or taken in costs that message."""
        while not self._stopped:
            try:
                taken = source.take()
                if taken is None:
                    return
                on_message(taken.message, taken.number)
            except Exception as error:  # whatever goes wrong costs this message, not the camera
                self._log.warning(f"a message on {source.topic} is lost: {error}", throttle_duration_sec=5.0)
                return
