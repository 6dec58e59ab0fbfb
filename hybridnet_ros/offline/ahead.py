"""Reads ahead: a thread makes what is needed next while the last one is still worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def read_ahead(items: Iterator[_T], most: int) -> Generator[_T, None, None]:
    """The same items, made by a thread, at most so many before they are asked for."""
    ahead: queue.Queue[_T | BaseException | None] = queue.Queue(most)
    enough = threading.Event()

    def put(item: _T | BaseException | None) -> bool:
        while not enough.is_set():
            try:
                ahead.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # raised again where the items are used
            put(error)

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        enough.set()
        thread.join()
