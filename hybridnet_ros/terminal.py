"""What subcommands have in common on a terminal: a line of progress, and numbers among the arguments."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_TERMINAL_PERIOD_S, _LOG_PERIOD_S = 0.1, 2.0


class Progress:
    """One line that says how the run goes: rewritten in place on a terminal, printed now and then in a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown_at = float("-inf")
        self._shown = ""

    def show(self, line: str, now: bool = False) -> None:
        """Show `line` if the last one is old enough, or at once."""
        period = _TERMINAL_PERIOD_S if self._terminal else _LOG_PERIOD_S
        if line == self._shown or (not now and time.monotonic() - self._shown_at < period):
            return
        self._stream.write(f"\r{line:<{len(self._shown)}}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._shown, self._shown_at = line, time.monotonic()

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._shown:
            self._stream.write("\n")
            self._shown = ""


def positive(kind: type) -> Callable[[str], float]:
    """An argparse type: an int or float greater than nothing."""

    def number(text: str) -> float:
        value: float = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    number.__name__ = f"positive {kind.__name__}"
    return number
