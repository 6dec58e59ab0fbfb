"""Frees the shared memory of processes that were killed: Fast DDS leaves it there until the machine starts again.

With a segment that fits images each of them costs 64 MiB of memory, until none is left; then Fast DDS sends by UDP
without a word, and loses most images.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

_SEGMENT = re.compile(r"(fastrtps|fastdds)_[0-9a-f]{16}")
_LOCK = "_el"  # ends the name of the file on which a process holds a lock for as long as it has the segment
_YOUNG_S = 10.0  # a lock file younger than this may just be about to be locked


def free_dead_segments(folder: Path) -> int:
    """Removes the segments in `folder` whose owner is dead, as far as we may; returns their size in bytes.

    A segment is left alone while anybody holds its lock. `fastdds shm clean` does the same by hand.
    """
    freed = 0
    with contextlib.suppress(OSError):  # there is no such folder, as on other systems than Linux
        for segment in folder.iterdir():
            if _SEGMENT.fullmatch(segment.name):
                with contextlib.suppress(OSError):  # alive, of another user, or freed by another node just now
                    freed += _free(segment, segment.with_name(segment.name + _LOCK))
    return freed


def _free(segment: Path, lock: Path) -> int:
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        if time.time() - os.fstat(descriptor).st_mtime < _YOUNG_S:
            return 0
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = segment.stat().st_blocks * 512
        segment.unlink()
        lock.unlink()
        return size
    finally:
        os.close(descriptor)
