"""Remembers the last CameraInfo messages and finds the one that belongs to an image."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

_REMEMBERED = 16


class CameraInfos:
    """The last CameraInfo messages, by stamp.

    Drivers send CameraInfo with the stamp of its image, but often after the image. A frame never waits for it, since a
    calibration hardly ever changes from one frame to the next: the newest of the same camera stands in. Where only one
    frame_id was ever seen it is that camera's, whatever the image's is: else depth would be metric or not by which of
    the two came first.
    The exceptions are the first frame of a camera, and the first of another size: see `wait_for` and `wait_for_exact`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._by_stamp: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._by_frame: OrderedDict[str, Any] = OrderedDict()

    def add(self, info: Any) -> None:
        """Remembers a CameraInfo."""
        with self._changed:
            _remember(self._by_stamp, _stamp(info.header), info)
            _remember(self._by_frame, info.header.frame_id, info)
            self._changed.notify_all()

    def match(self, header: Any) -> Any | None:
        """The CameraInfo with an image's stamp, else the newest with its frame_id or of the only camera, else None."""
        with self._changed:
            exact = self._by_stamp.get(_stamp(header))
            if exact is not None:
                return exact
            only = next(iter(self._by_frame.values())) if len(self._by_frame) == 1 else None
            return self._by_frame.get(header.frame_id, only)

    def has_exact(self, header: Any) -> bool:
        """Whether the CameraInfo with an image's stamp is remembered."""
        with self._changed:
            return _stamp(header) in self._by_stamp

    def wait_for(self, header: Any, timeout: float) -> None:
        """Waits until `match` finds something, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.match(header) is not None, timeout)

    def wait_for_exact(self, header: Any, timeout: float) -> None:
        """Waits for the CameraInfo with an image's stamp, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_exact(header), timeout)

    def frames(self) -> list[str]:
        """The frame_ids seen."""
        with self._changed:
            return list(self._by_frame)

    def clear(self) -> None:
        """Forgets everything."""
        with self._changed:
            self._by_stamp.clear()
            self._by_frame.clear()


def _remember(infos: OrderedDict[Any, Any], key: Any, info: Any) -> None:
    infos[key] = info
    infos.move_to_end(key)
    if len(infos) > _REMEMBERED:
        infos.popitem(last=False)


def _stamp(header: Any) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec
