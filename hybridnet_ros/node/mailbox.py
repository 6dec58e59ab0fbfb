"""A box that holds the newest item of each sender: hands frames to the worker without making a queue of old ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_SENDS_S = 1.0
"""A sender that sent nothing for so many seconds is not waited for."""


class Mailbox(Generic[Item]):
    """Holds the newest item of each sender until it is taken; putting never waits.

    Senders take turns: the one whose item was taken longest ago is served first, however fast the others send.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """An open, empty box."""
        self._clock = clock
        self._changed = threading.Condition()
        self._items: dict[str, Item] = {}
        self._oldest = 0.0  # when the box was last empty and got an item
        self._sent: dict[str, float] = {}  # when each sender put its last item
        self._served: dict[str, int] = {}  # the number of the turn in which each sender was served last
        self._turn = 0
        self._closed = False
        self._replaced = 0

    def put(self, item: Item, sender: str = "") -> Item | None:
        """Stores `item` and wakes who waits; returns the sender's unread item that it replaced, if any."""
        with self._changed:
            now = self._clock()
            if not self._items:
                self._oldest = now
            self._sent[sender] = now
            older = self._items.get(sender)
            self._items[sender] = item
            self._replaced += older is not None
            self._changed.notify_all()
            return older

    def take(self, limit: int = 1, alike: Callable[[Item, Item], bool] = lambda first, other: True) -> list[Item]:
        """The item of the sender whose turn it is, and up to `limit` - 1 of others' that are `alike` to it.

        The others stay in the box, where newer ones may replace them.
        """
        with self._changed:
            taken: list[Item] = []
            for sender in sorted(self._items, key=lambda name: self._served.get(name, 0)):
                if len(taken) < limit and (not taken or alike(taken[0], self._items[sender])):
                    taken.append(self._items.pop(sender))
                    self._turn += 1
                    self._served[sender] = self._turn
            return taken

    def clear(self) -> list[Item]:
        """Empties the box and returns what was in it."""
        with self._changed:
            items = list(self._items.values())
            self._items.clear()
            return items

    def wait(self, timeout: float | None = None, until: Callable[[], bool] = lambda: False) -> bool:
        """Waits for an item, for the box to be closed, or for `until`, which is asked again after each `wake`.

        Returns:
            False when `timeout` seconds passed without.
        """
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._items) or self._closed or until(), timeout)

    def wait_for_others(self, seconds: float) -> None:
        """Waits until every sender has an item here, at most until the box has not been empty for `seconds`.

        Those who stopped sending are not waited for.
        """
        with self._changed:
            now = self._clock()
            alive = [name for name, sent in self._sent.items() if now - sent < _SENDS_S]
            self._changed.wait_for(
                lambda: self._closed or all(name in self._items for name in alive),
                max(0.0, self._oldest + seconds - now),
            )

    def wake(self) -> None:
        """Lets who waits ask again."""
        with self._changed:
            self._changed.notify_all()

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
