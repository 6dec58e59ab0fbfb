"""What a person should know about a camera or the node: each trouble with its level, by what it is about."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus, which has them as single bytes."""

    OK, WARN, ERROR, STALE = range(4)


_BADNESS = (Level.OK, Level.WARN, Level.STALE, Level.ERROR)


@dataclass(frozen=True)
class Trouble:
    """Something a person should know: how bad, and in one line what it is and what to do.

    `lasting` is what stays true when the node is deactivated. Errors stay in any case: they may be the reason.
    """

    level: Level
    text: str
    lasting: bool = False


class Troubles:
    """The troubles at present; told and asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}

    def trouble(self, key: str, level: Level, text: str, lasting: bool = False) -> bool:
        """Notes a trouble under a key such as "camera_info"; returns whether it is news."""
        with self._lock:
            new = Trouble(level, text, lasting)
            news = self._troubles.get(key) != new
            self._troubles[key] = new
            return news

    def clear_trouble(self, key: str) -> bool:
        """Takes a trouble back; returns whether there was one."""
        with self._lock:
            return self._troubles.pop(key, None) is not None

    def has_trouble(self, key: str) -> bool:
        """Whether a trouble is noted under this key."""
        with self._lock:
            return key in self._troubles

    def keep_lasting(self) -> None:
        """Forgets what was true of the active node only, when it is deactivated."""
        with self._lock:
            kept = {key: one for key, one in self._troubles.items() if one.lasting or one.level is Level.ERROR}
            self._troubles = kept

    def troubles(self) -> list[Trouble]:
        """The troubles at present, the worst first."""
        with self._lock:
            return worst_first(list(self._troubles.values()))


def worst_first(troubles: list[Trouble]) -> list[Trouble]:
    """The same troubles in the order in which people should read them."""
    return sorted(troubles, key=lambda trouble: _BADNESS.index(trouble.level), reverse=True)
