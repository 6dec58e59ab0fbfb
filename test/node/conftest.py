"""One ROS context for all tests of the node, in a domain of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy

from hybridnet_ros.node.process import set_dds_profile
from hybridnet_ros.processes import free_domain
from ros_testing import NodeProcess, Robot
from tiny import write_tiny_engine


@pytest.fixture(scope="session")
def context() -> Iterator[rclpy.Context]:
    """rclpy, initialised so that other ROS programs on this machine neither hear nor disturb the tests."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(free_domain()))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    set_dds_profile(os.environ)
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny engine's ONNX file."""
    return write_tiny_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def make_robot(context: rclpy.Context) -> Iterator[Callable[..., Robot]]:
    """Makes Robots: `make_robot(namespace, raw=True, camera="")`."""
    made: list[Robot] = []

    def make(namespace: str = "", raw: bool = True, camera: str = "") -> Robot:
        made.append(Robot(context, namespace, raw, camera))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def start_node(context: rclpy.Context, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts node processes: `start_node(namespace, parameter=value, ...)`; ends them after the test."""
    started: list[NodeProcess] = []

    def start(namespace: str, *ros_arguments: str, **parameters: object) -> NodeProcess:
        arguments = ["-r", f"__ns:={namespace}", *ros_arguments]
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        started.append(NodeProcess(tmp_path / f"node{len(started)}.log", *arguments))
        return started[-1]

    yield start
    for node in started:
        node.end()
        print(node.log())
