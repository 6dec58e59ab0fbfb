"""Full load for a long time: a camera that sends more than the node can answer, and somebody who wants every answer.

    scripts/endurance soak --minutes 20 --output engines/measured/soak.json

Camera, node and listener are processes of their own. The JSON has, for each minute, the age of the answers and what the
node holds; what it grew by after the first minute; and the accounts of all frames.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from endurance.process_watch import Holdings, holdings, left_behind, report, shared_files
from peers import Peer
from ros_testing import NodeProcess, wait_until

_NAMESPACE = "/soak"
_TOPICS = ("segmentation/mask", "segmentation/confidence", "depth/image")  # depth comes last
_SAMPLE_S = 5.0
_STAMP = struct.Struct("<4xiI")  # of a message in CDR, little endian


class Listener:
    """Subscribes to the outputs without looking into them: notes how old they are when they come."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("listener", context=self._context, namespace=_NAMESPACE)
        self._lock = threading.Lock()
        self._ages_ms: list[float] = []
        self._values: dict[str, str] = {}
        for topic in _TOPICS:
            callback = self._on_answer if topic == _TOPICS[-1] else self._on_other
            self._node.create_subscription(Image, f"hybridnet/{topic}", callback, QoSProfile(depth=5), raw=True)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def ages_ms(self) -> list[float]:
        """Those of the answers since the last call."""
        with self._lock:
            ages, self._ages_ms = self._ages_ms, []
            return ages

    def values(self) -> dict[str, str]:
        """What the node last said on /diagnostics."""
        with self._lock:
            return self._values

    def close(self) -> None:
        """Leaves the network."""
        self._end.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        while not self._end.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_answer(self, message: bytes) -> None:
        seconds, nanoseconds = _STAMP.unpack_from(message)
        with self._lock:
            self._ages_ms.append(time.time() * 1e3 - seconds * 1e3 - nanoseconds * 1e-6)

    def _on_other(self, message: bytes) -> None:
        """It has been transported, and that is what it was asked for."""

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            with self._lock:
                self._values = {pair.key: pair.value for pair in status.values}


def run(
    folder: Path, engine: str, rate: float, size: str, minutes: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Runs for `minutes`; `folder` is for logs. Returns what to write down.

    Raises:
        AssertionError: the node died, or its accounts do not add up.
    """
    node = NodeProcess(folder / "log", "-r", f"__ns:={_NAMESPACE}", "-p", f"engine:={engine}")
    camera = Peer("camera", f"{_NAMESPACE}/image", "--rate", rate, "--size", size, "--reliable",
                  "--count", round(rate * minutes * 60))  # fmt: skip
    listener = Listener()
    try:
        # When it has seen that raw images are published it has left the compressed ones.
        wait_until(lambda: listener.values().get("input topic") == f"{_NAMESPACE}/image", "the node to see the camera")
        wait_until(lambda: camera.lines, "the camera to be heard")
        camera.go()
        samples, minutely = _watch(node, camera, listener, say)
        sent = int(camera.lines[-1].split()[1])
        wait_until(lambda: listener.values().get("frames in flight") == "0", "the last frame")
        before = listener.values()
        values = wait_until(lambda: listener.values() is not before and listener.values(), "diagnostics")
        mapped = shared_files(node.process.pid)
        assert node.stop() == 0, node.log()
        left = left_behind(mapped)  # before the camera and the listener, which have files of their own, are gone
    finally:
        listener.close()
        camera.end()
        node.end()
    counts = {key: int(value) for key, value in values.items() if key.startswith(("frames ", "dropped: "))}
    assert sent == counts["frames received"] + counts["frames lost on the way here"], (sent, counts)
    assert counts["frames received"] == counts["frames answered"] + counts["frames dropped"], counts
    held = report(samples[round(60 / _SAMPLE_S) :] or samples)
    return {
        "engine": engine,
        "camera": f"{size} rgb8 at {rate:g} Hz, reliable",
        "minutes": minutes,
        "frames_sent": sent,
        "node_counted": {key: count for key, count in counts.items() if count},
        "answers_per_second": round(counts["frames answered"] / (len(samples) * _SAMPLE_S), 2),
        "after_the_first_minute": {
            **held,
            "memory_growth_percent": round(100 * held["memory_mib"]["growth"] / held["memory_mib"]["first"], 2),
            "age_p50_drift_ms": round(
                minutely[-1]["age_p50_ms"] - minutely[min(1, len(minutely) - 1)]["age_p50_ms"], 1
            ),
        },
        "shared_files_left_behind": left,
        "minutely": minutely,
    }


def _watch(
    node: NodeProcess, camera: Peer, listener: Listener, say: Callable[[str], None]
) -> tuple[list[Holdings], list[dict[str, float]]]:
    """Looks on until the camera has sent all: what the node holds, and the ages of each minute."""
    samples, minutely = [], []
    ages: list[float] = []
    due = start = time.monotonic()
    while not camera.lines[-1].startswith("sent"):
        due += _SAMPLE_S
        time.sleep(max(0.0, due - time.monotonic()))
        assert node.alive(), node.log()
        samples.append(holdings(node.process.pid))
        ages += listener.ages_ms()
        at_the_end = camera.lines[-1].startswith("sent") and not minutely
        if ages and (at_the_end or time.monotonic() - start > 60 * (len(minutely) + 1)):
            p50, p95, p99 = (round(float(value), 1) for value in np.percentile(ages, (50, 95, 99)))
            last = samples[-1]
            minutely.append({"answers": len(ages), "age_p50_ms": p50, "age_p95_ms": p95, "age_p99_ms": p99,
                             "memory_mib": last.memory_mib, "descriptors": last.descriptors})  # fmt: skip
            say(f"minute {len(minutely)}: {minutely[-1]}")
            ages = []
    return samples, minutely
