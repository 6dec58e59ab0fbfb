"""What the process needs before its first message: a DDS profile that fits images, clean signals."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

from hybridnet_ros.resources import ResourceError, share_path

WORKER_THREAD = "hybridnet worker"
"""Name of the threads that run engines."""

DDS_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS before version 3 (Humble, Jazzy) reads the first, from version 3 on (Kilted) the second."""

_SWITCH_INTERVAL_S = 0.0001

SHARED_MEMORY = Path("/dev/shm")
_PARTICIPANTS = 3  # that share it: the camera, this node, a consumer
_PROFILES = {"fastdds.xml": 64 << 20, "fastdds_small.xml": 16 << 20}  # bytes of a segment in each, the largest first
_OVERHEAD = 1.05  # of Fast DDS on top of a segment


def set_dds_profile(environment: MutableMapping[str, str], shared_memory: Path = SHARED_MEMORY) -> None:
    """Points Fast DDS to a shipped profile, whose shared memory fits images, unless the user chose a profile.

    Must run before rclpy.init. The small profile is for containers, which have 64 MB of shared memory unless told
    otherwise: where a segment does not fit, Fast DDS goes over to UDP without a word, and nearly every image is lost.
    """
    if any(variable in environment for variable in DDS_PROFILE_VARIABLES):
        return
    try:
        profile = shipped_profile(shared_memory)
    except ResourceError as error:
        logging.getLogger("hybridnet").warning("Fast DDS has its own profile, which loses large images: %s", error)
        return
    for variable in DDS_PROFILE_VARIABLES:
        environment[variable] = str(profile)


def shipped_profile(shared_memory: Path = SHARED_MEMORY) -> Path:
    """The shipped profile whose segments fit into the shared memory of this machine, or else the smallest.

    Raises:
        ResourceError: it is not installed.
    """
    size = _size(shared_memory)
    names = [name for name, segment in _PROFILES.items() if size is None or size >= _needed(segment)]
    return share_path("config", names[0] if names else list(_PROFILES)[-1])


def shared_memory_warning(shared_memory: Path = SHARED_MEMORY) -> str | None:
    """What to tell the user when shared memory is too small even for the small profile; None when it is not."""
    size, needed = _size(shared_memory), _needed(min(_PROFILES.values()))
    if size is None or size >= needed:
        return None
    return (
        f"{shared_memory} holds {size >> 20} MiB, but images between processes want {needed >> 20} MiB: "
        "large ones will be lost; start the container with --shm-size=512m or --ipc=host"
    )


def _needed(segment: int) -> int:
    return int(segment * _OVERHEAD * _PARTICIPANTS)


def _size(folder: Path) -> int | None:
    """Bytes that fit into a file system; None where there is none, as on other systems than Linux."""
    try:
        memory = os.statvfs(folder)
    except OSError:
        return None
    return memory.f_blocks * memory.f_frsize


def hand_over_quickly() -> None:
    """Lets the worker and the executor wait less for each other.

    A thread that wants to run Python code while another does asks for its turn after 5 ms only, unless told otherwise:
    as long as a whole frame takes. Both run Python for short moments, between calls that need no turn.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def freeze_garbage_collector() -> None:
    """Takes everything loaded so far out of garbage collection.

    A full collection walks every module, class and message type, tens of milliseconds in which no frame is answered;
    none of these is ever garbage while the node runs.
    """
    gc.unfreeze()  # what an earlier call froze and is garbage by now
    gc.collect()
    gc.freeze()


def open_standard_streams() -> None:
    """Opens /dev/null in the place of standard input, output or error where the process was started without it.

    The next file or socket would get that number otherwise, and what ROS logs would be written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def leave_stuck_threads() -> None:
    """Ends the process at once if a thread is still in an inference that does not return.

    The end of Python would take the libraries apart under its feet.
    """
    if any(thread.daemon and thread.name == WORKER_THREAD for thread in threading.enumerate()):
        os._exit(0)


class StopRequest:
    """SIGINT and SIGTERM as something to wait for, so that a stop never interrupts Python code half way.

    rclpy's own handlers would take the context away from under a worker that is publishing, and Python's would raise
    KeyboardInterrupt inside a lifecycle transition.
    """

    def __init__(self) -> None:
        self._asked = False
        # A socket that the C level of a signal writes to, and not an Event or a queue: they leave the main thread
        # asleep when the signal comes just before it falls asleep, for the Python handler runs only once it wakes.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def ask(self) -> None:
        """Asks for the stop from inside the program."""
        self._asked = True
        self._writer.send(b"\0")

    def wait(self) -> None:
        """Waits for a stop; to be called in the main thread, the only one in which Python handles signals."""
        if not self._asked:
            self._reader.recv(1)
            self._asked = True

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked


class RosLogHandler(logging.Handler):
    """Sends what our rooms without ROS say (logger "hybridnet") to a ROS logger, so to the console and /rosout."""

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Passes one record on; rclpy wants one line of code for each severity."""
        message = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._ros_logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._ros_logger.warning(message)
        elif record.levelno >= logging.INFO:
            self._ros_logger.info(message)
        else:
            self._ros_logger.debug(message)
