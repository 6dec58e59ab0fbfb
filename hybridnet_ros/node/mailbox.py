"""A box that holds one item, the newest: it hands frames to the worker without ever making a queue of old ones."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Holds the newest item until it is taken; putting never waits."""

    def __init__(self) -> None:
        """An open, empty box."""
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False
        self._replaced = 0

    def put(self, item: Item) -> Item | None:
        """Stores `item` and wakes who waits; returns the unread item that it replaced, if any."""
        with self._changed:
            older, self._item = self._item, item
            self._replaced += older is not None
            self._changed.notify_all()
            return older

    def take(self) -> Item | None:
        """Empties the box and returns what was in it; None when it was empty."""
        with self._changed:
            item, self._item = self._item, None
            return item

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for an item, or for the box to be closed; returns False when `timeout` seconds passed without."""
        with self._changed:
            return self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)

    def close(self) -> None:
        """Wakes who waits, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the box was closed."""
        return self._closed

    @property
    def replaced(self) -> int:
        """How many items were thrown away unread because a newer one came."""
        return self._replaced
