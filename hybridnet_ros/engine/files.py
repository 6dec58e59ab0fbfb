"""Files that several processes share: written whole or not at all, and locked while something is made."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hybridnet_ros.engine.errors import BuildCancelled, PlanError

_LOCK_PERIOD_S = 0.1


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises OSError."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], bool]) -> Iterator[None]:
    """Holds the lock of the plan at `path`, so that of several processes one builds it.

    Args:
        path: the plan.
        waiting: called again and again while another process has the lock; False gives up.

    Raises:
        BuildCancelled: `waiting` gave up.
        PlanError: the folder cannot be written.
    """
    lock = path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = _acquire(lock, waiting)
    except OSError as error:
        raise PlanError(
            f"cannot write in {path.parent}: {error.strerror}; set HYBRIDNET_CACHE to a folder that can be written"
        ) from error
    with file:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _acquire(lock: Path, waiting: Callable[[], bool]) -> BinaryIO:
    """The lock file, open and locked."""
    while True:
        file = lock.open("wb")
        try:
            while not _try_lock(file):
                if not waiting():
                    raise BuildCancelled("stopped while another process was building the same plan")
                time.sleep(_LOCK_PERIOD_S)
            # Whoever had the lock removed the file at its end; a lock on a removed file locks nobody out.
            if _is_file(lock, file.fileno()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
