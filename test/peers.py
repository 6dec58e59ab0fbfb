"""The other programs on a robot, each a process of its own, so that it can be stopped or killed like one.

    python test/peers.py camera /ns/image --rate 30 --size 1280x720 [--count 100] [--reliable]
    python test/peers.py listener /ns/hybridnet/depth/image

The camera says `ready` when somebody subscribes, waits for a line on its standard input, and says `sent N` after all.
Stamps are the time of sending, and a CameraInfo goes with each image. The listener says the stamp of each image.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

ROOT = Path(__file__).resolve().parents[1]


def end(process: subprocess.Popen[Any]) -> None:
    """Ends a process as Ctrl-C does, if it runs; kills it where it does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Peer:
    """One of the programs in this file as a process; `lines` is what it has said."""

    def __init__(self, *arguments: object) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, __file__, *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self.lines: deque[str] = deque()
        threading.Thread(target=self._read, daemon=True).start()

    def go(self) -> None:
        """Lets a camera begin."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)

    def kill(self) -> None:
        """Ends it without a chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Ends it as Ctrl-C does, so that the next test finds no trace of it on the network."""
        end(self.process)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())


def camera(topic: str, rate: float, width: int, height: int, count: int, reliable: bool) -> None:
    """Publishes `count` images, without end when 0."""
    node = Node("camera")
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    images = node.create_publisher(Image, topic, QoSProfile(depth=5, reliability=reliability))
    infos = node.create_publisher(CameraInfo, f"{topic.rsplit('/', 1)[0]}/camera_info", 5)
    while not (images.get_subscription_count() and infos.get_subscription_count()):
        time.sleep(0.02)
    print("ready", flush=True)
    sys.stdin.readline()
    pixels = np.random.default_rng(0).integers(0, 200, height * width * 3, np.uint8)
    image = Image(width=width, height=height, step=3 * width, encoding="rgb8")
    image._data = pixels
    focal = 0.6 * width
    info = CameraInfo(width=width, height=height, k=[focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
    image.header.frame_id = info.header.frame_id = "camera_optical"
    due = time.monotonic()
    sent = 0
    while not count or sent < count:
        image.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(image)
        sent += 1
        due = max(due + 1 / rate, time.monotonic() - 1)  # a camera that was stopped does not catch up
        time.sleep(max(0.0, due - time.monotonic()))
    print(f"sent {sent}", flush=True)
    sys.stdin.readline()


def listener(topic: str) -> None:
    """Subscribes reliably, and says what comes."""
    node = Node("listener")
    node.create_subscription(
        Image, topic, lambda image: print(image.header.stamp.sec, image.header.stamp.nanosec, flush=True), 10
    )
    print("ready", flush=True)
    rclpy.spin(node)


def main() -> None:
    """Runs the program that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=("camera", "listener"))
    parser.add_argument("topic")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--size", default="192x128")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--reliable", action="store_true")
    options = parser.parse_args()
    rclpy.init(args=[])
    try:
        if options.program == "listener":
            listener(options.topic)
        else:
            width, height = map(int, options.size.split("x"))
            camera(options.topic, options.rate, width, height, options.count, options.reliable)
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
