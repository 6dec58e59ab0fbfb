"""Starts worker processes soon: what they import is imported once, and while the command still looks at the recordings.

Workers are forked from a process that has imported everything and opened nothing: ONNX Runtime's threads do not survive
a fork, so the command's own process, which opens an engine, cannot be forked.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_IMPORTED = ["hybridnet_ros.offline.runner", "hybridnet_ros.engine.onnx_engine", "rosbags.rosbag2"]


def worker_context() -> ForkServerContext:
    """What makes worker processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def warm_up() -> None:
    """Begins with the imports, on another core; does not wait for them."""
    worker_context()
    forkserver.ensure_running()
