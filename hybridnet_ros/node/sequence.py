"""Counts the messages that were lost between their publisher and our callback, which no one else can tell of.

A subscription keeps the last few messages only, and the middleware replaces older ones without a word; it loses best
effort ones as well. But it numbers the messages of each publisher, and hands the number over with each message.
"""

from __future__ import annotations

_UNKNOWN = 2**64 - 1
_SILENT = 100  # a publisher of which none of so many messages is has gone


class SequenceWatch:
    """The numbers seen on one subscription; the messages of several publishers may come mixed."""

    def __init__(self) -> None:
        self._messages = 0
        self._lasts: dict[int, int] = {}  # the last number of each publisher, and which message here had it

    def lost_before(self, number: int | None) -> int:
        """How many messages were lost just before this one: the gap between its number and its publisher's last.

        Args:
            number: the `publication_sequence_number` of the message; None or the largest one where the middleware does
                not number messages (Cyclone DDS), and then nothing is known to be lost.
        """
        if number is None or number == _UNKNOWN:
            return 0
        # Publishers have no name here: it is the one whose last number is the nearest below. A publisher that starts
        # again begins with 1, and that is below every other.
        last = max((one for one in self._lasts if one < number), default=None)
        if last is not None:
            del self._lasts[last]
        self._messages += 1
        self._lasts = {one: at for one, at in self._lasts.items() if self._messages - at < _SILENT}
        self._lasts[number] = self._messages
        return 0 if last is None else number - last - 1
