"""Finds the message nearest to a stamp among the last ones of a topic."""

from __future__ import annotations

from collections import deque
from typing import Any

_REMEMBERED = 1000


class Nearest:
    """The last messages of a topic, to find the one nearest to a stamp."""

    def __init__(self, tolerance_ns: int) -> None:
        """Finds what is at most `tolerance_ns` away."""
        self._tolerance_ns = tolerance_ns
        self._stamps: deque[int] = deque(maxlen=_REMEMBERED)
        self._messages: deque[Any] = deque(maxlen=_REMEMBERED)

    def add(self, stamp_ns: int, message: Any) -> None:
        """Remembers a message."""
        self._stamps.append(stamp_ns)
        self._messages.append(message)

    def find(self, stamp_ns: int) -> Any | None:
        """The message nearest to `stamp_ns`, the earlier of two; what is too old for any later stamp is forgotten."""
        while self._stamps and self._stamps[0] < stamp_ns - self._forget_ns:
            self._stamps.popleft()
            self._messages.popleft()
        best = min(range(len(self._stamps)), key=lambda i: abs(self._stamps[i] - stamp_ns), default=None)
        if best is None or abs(self._stamps[best] - stamp_ns) > self._tolerance_ns:
            return None
        return self._messages[best]

    @property
    def _forget_ns(self) -> int:
        # Stamps need not ascend from message to message; ten tolerances and a second are more than any shuffle.
        return 10 * self._tolerance_ns + 1_000_000_000
