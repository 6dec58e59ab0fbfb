"""Runs the node as a process of its own and talks to it over DDS, as a robot does."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

import peers

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
"""How long anything may take before a test gives up: discovery, a slow machine. Nothing is ever slept for."""

_stamps = itertools.count(1)

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_S) -> Any:
    """Waits for `condition` to become true and returns its value; fails with `what` was waited for."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {patience:g} s for {what}")


class NodeProcess:
    """The perception node in its own process; `log()` is what it has printed so far."""

    PROGRAM = ("-m", "hybridnet_ros.node.perception_node")

    def __init__(
        self, log_file: Path, *ros_arguments: str, shell: str = 'exec "$@"', program: Sequence[str] = PROGRAM
    ) -> None:
        """Starts it, by the line `shell` of a shell, to which it is `"$@"`; or another Python program in its place."""
        command = ["bash", "-c", shell, "bash", sys.executable, *program, "--ros-args", *ros_arguments]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        self._log_file = log_file
        with log_file.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def log(self) -> str:
        """Standard output and error up to now."""
        return self._log_file.read_text(errors="replace")

    def says(self, text: str) -> None:
        """Waits until the log has `text`."""
        try:
            wait_until(lambda: text in self.log() or self.process.poll() is not None, text)
        finally:
            assert text in self.log(), f"not said: {text}\n{self.log()}"

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def stop(self, number: int = signal.SIGINT) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Ends the process if a test left it, so that the next test finds no trace of it on the network."""
        peers.end(self.process)


class Robot:
    """The rest of the robot: a camera, somebody who listens to every output asked for, and an operator."""

    def __init__(self, context: rclpy.Context, namespace: str = "", raw: bool = True, camera: str = "") -> None:
        """A robot in `namespace`, whose camera publishes raw images, or none until `compressed_camera`.

        `camera` is its name where the node has several.
        """
        self.namespace = namespace
        self.camera = f"{camera}/" if camera else ""
        self.status_name = f"{namespace}/hybridnet: {camera or 'perception'}"
        self.node = Node(f"robot_{camera}" if camera else "robot", context=context, namespace=namespace or None)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.images = self.node.create_publisher(Image, self._topic("image"), qos_profile_sensor_data) if raw else None
        self.infos = self.node.create_publisher(CameraInfo, self._topic("camera_info"), 5)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.diagnostics: list[Any] = []
        self.node_seconds = 0
        """The node's clock, as last seen on /diagnostics."""
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._subscriptions: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _topic(self, name: str) -> str:
        return f"{self.camera}{name}"

    def _spin(self) -> None:
        while not self._stopped:
            self.executor.spin_once(timeout_sec=0.05)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        ours = [status for status in message.status if status.name == self.status_name]
        if ours:
            self.node_seconds = message.header.stamp.sec
            self.diagnostics += ours

    def close(self) -> None:
        """Leaves the network; closing twice does no harm."""
        if self._stopped:
            return
        self._stopped = True
        self._thread.join()
        self.executor.shutdown()
        self.node.destroy_node()

    # Listening

    def listen(self, kind: Any, *topics: str) -> None:
        """Subscribes to `hybridnet/<topic>`, or `hybridnet/<camera>/<topic>`."""
        for topic in topics:
            self._subscriptions[topic] = self.node.create_subscription(
                kind, f"hybridnet/{self.camera}{topic}", self.received[topic].append, QoSProfile(depth=50)
            )

    def ready(self, info: bool = True) -> None:
        """Waits until the node hears the camera and answers are heard on every topic listened to; then forgets them.

        Counting publishers is not enough: each side finds the other at its own time, and what is sent before is lost.
        """
        matched = [self.images or self.compressed] + [self.infos] * info
        wait_until(lambda: all(one.get_subscription_count() for one in matched), "the node to hear the camera")
        due = 0.0

        def heard() -> bool:
            nonlocal due
            if time.monotonic() > due:
                due = time.monotonic() + 0.5
                header = self.header()
                if info:
                    self.send_info(header, 192, 128, fx=100.0)
                self.send(gray(0.5), header=header)
            return all(self.received[topic] for topic in self._subscriptions)

        wait_until(heard, f"answers on {', '.join(self._subscriptions)}")
        last = self.header()
        self.send(gray(0.5), header=last)
        for topic in self._subscriptions:
            if "camera_info" not in topic or info:
                self.answer(last, topic)
            self.received[topic].clear()

    def ignore(self, *topics: str) -> None:
        """Unsubscribes."""
        for topic in topics:
            self.destroy(self.node.destroy_subscription, self._subscriptions.pop(topic))

    def destroy(self, destroy: Callable[[Any], Any], entity: Any) -> None:
        """Destroys a publisher or subscription in the thread that spins, which may be using it at this moment."""
        done = self.executor.create_task(destroy, entity)
        wait_until(done.done, "the robot's executor")

    def status(self) -> Any:
        """A diagnostic status that was made after this call."""
        count = len(self.diagnostics)
        return wait_until(lambda: self.diagnostics[count + 1 :], "diagnostics")[-1]

    def status_with(self, text: str) -> Any:
        """A diagnostic status whose message has `text`, made after this call or just before."""

        def found() -> Any:
            return next((one for one in self.diagnostics[-1:] if text in one.message), None)

        return wait_until(found, f"{text!r} on /diagnostics")

    def values(self) -> dict[str, str]:
        """The key-value pairs of `status`."""
        return {pair.key: pair.value for pair in self.status().values}

    # Camera

    def header(self) -> Any:
        """A header with a stamp that no other has, of the past."""
        header = Image().header
        header.stamp, header.frame_id = Time(sec=1_700_000_000, nanosec=next(_stamps)), "camera_optical"
        return header

    def send(self, pixels: np.ndarray, encoding: str = "rgb8", header: Any = None) -> Any:
        """Publishes an image, compressed by a camera that has no raw images, and returns its message."""
        if self.images is None:
            return self.send_compressed(pixels, header)
        height, width = pixels.shape[:2]
        message = Image(header=header or self.header(), height=height, width=width, encoding=encoding)
        message.step = pixels.nbytes // height
        message._data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        self.images.publish(message)
        return message

    def send_info(self, header: Any, width: int, height: int, fx: float) -> CameraInfo:
        """Publishes the CameraInfo of an image."""
        info = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob")
        info.k = [fx, 0.0, width / 2, 0.0, fx, height / 2, 0.0, 0.0, 1.0]
        info.p = [fx, 0.0, width / 2, 0.0, 0.0, fx, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
        self.infos.publish(info)
        return info

    def send_compressed(self, pixels: np.ndarray, header: Any = None) -> Any:
        """Publishes an rgb8 image as PNG on image/compressed, after `compressed_camera`."""
        data = cv2.imencode(".png", pixels[..., ::-1])[1]
        message = CompressedImage(header=header or self.header(), format="rgb8; png compressed bgr8")
        message._data = data.reshape(-1)
        self.compressed.publish(message)
        return message

    def compressed_camera(self) -> None:
        """Publishes image/compressed from now on, and waits until the node listens there."""
        self.compressed = self.node.create_publisher(
            CompressedImage, self._topic("image/compressed"), qos_profile_sensor_data
        )
        wait_until(lambda: self.compressed.get_subscription_count() == 1, "the node to subscribe to image/compressed")

    def answer(self, header: Any, topic: str = "depth/image") -> Any:
        """The output with the stamp of `header`."""

        def found() -> Any:
            return [message for message in self.received[topic] if message.header.stamp == header.stamp]

        return wait_until(found, f"the answer on {topic} to stamp {header.stamp.nanosec}")[0]

    # Operator

    def change_state(self, transition: int) -> bool:
        """Asks for a lifecycle transition; returns whether it was made."""
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self._call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        """The lifecycle state of the node."""
        return str(self._call(GetState, "get_state", GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> SetParametersResult:
        """Sets a parameter and returns whether it was taken, and why not."""
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self._call(SetParameters, "set_parameters", request).results[0]

    def get_parameter(self, name: str) -> Any:
        """The value of a parameter."""
        request = GetParameters.Request(names=[name])
        return parameter_value_to_python(self._call(GetParameters, "get_parameters", request).values[0])

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f"hybridnet/{name}")
        client = self._clients[name]
        assert client.wait_for_service(PATIENCE_S), f"no service {name}"
        future = client.call_async(request)
        wait_until(future.done, f"an answer of {name}")
        return future.result()


def image_of(array: Any) -> np.ndarray:
    """The pixels of a received Image message."""
    kinds = {"32FC1": np.float32, "16UC1": np.uint16, "mono8": np.uint8, "rgb8": np.uint8}
    shape = (array.height, array.width) + ((3,) if array.encoding == "rgb8" else ())
    return np.frombuffer(array.data, kinds[array.encoding]).reshape(shape)


def gray(brightness: float, width: int = 192, height: int = 128) -> np.ndarray:
    """A plain rgb8 image, brightness from 0 to 1."""
    return np.full((height, width, 3), round(brightness * 255), np.uint8)
