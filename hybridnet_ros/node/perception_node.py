"""The ROS 2 node process: metric depth and semantic labels of the newest camera image.

    hybridnet_node --ros-args -r image:=/camera/image_raw

The life of a frame: a thread (receiver.py) takes it from a subscription (inputs.py) and puts it into a mailbox
(mailbox.py) that holds the newest frame only; one worker thread (worker.py) takes it through pipeline.py: decode,
infer, publish (outputs.py). Its pixels are not copied between numpy and rcl (direct_images.py).
managed_node.py puts these together, under the ROS lifecycle.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hybridnet_ros.memory import keep_image_memory
from hybridnet_ros.node import process

if TYPE_CHECKING:
    from rclpy.context import Context

    from hybridnet_ros.node.managed_node import PerceptionNode


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM; returns the exit code."""
    process.open_standard_streams()
    stop = process.StopRequest()
    keep_image_memory()
    process.hand_over_quickly()
    # ROS, OpenCV and ONNX Runtime take a second to import: only now, so that a Ctrl-C in that second ends cleanly too.
    from rclpy.utilities import remove_ros_args

    from hybridnet_ros.node.managed_node import PerceptionNode
    from hybridnet_ros.node.parameters import ParameterError
    from hybridnet_ros.node.shared_memory import free_dead_segments

    argv = list(sys.argv if args is None else ["hybridnet_node", *args])
    parser = argparse.ArgumentParser(
        prog="hybridnet_node",
        usage="%(prog)s [--own-dds-profile] [--ros-args -r image:=/camera/image_raw -p NAME:=VALUE ...]",
        description="ROS 2 node: metric depth and semantic labels of the newest camera image.",
    )
    parser.add_argument(
        "--own-dds-profile",
        action="store_true",
        help="leave Fast DDS with its own profile, whose shared memory does not fit images",
    )
    try:
        options = parser.parse_args(remove_ros_args(argv)[1:])
        if not options.own_dds_profile:
            process.set_dds_profile(os.environ)
        freed = free_dead_segments(process.SHARED_MEMORY)
        context, no_log_file = _context(argv)
        node = PerceptionNode(context=context)
    except (ParameterError, RuntimeError) as error:  # rclpy raises RuntimeErrors for wrong ROS arguments
        print(f"hybridnet_node cannot start: {error}", file=sys.stderr)
        return 1
    log = logging.getLogger("hybridnet")
    log.addHandler(process.RosLogHandler(node.get_logger()))
    log.setLevel(logging.INFO)
    for warning in (no_log_file, process.shared_memory_warning()):
        if warning is not None:
            log.warning(warning)
    if freed:
        log.info(f"freed {freed >> 20} MiB of shared memory that processes which were killed had left behind")
    try:
        _spin(node, stop)
    finally:
        context.try_shutdown()
    process.leave_stuck_threads()
    return 0


def _context(argv: list[str]) -> tuple[Context, str | None]:
    """A ROS context, without a log file where none can be written; and what to tell the user about that."""
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    def initialised(*more: str) -> Context:
        context = Context()
        rclpy.init(args=[*argv, *more], context=context, signal_handler_options=SignalHandlerOptions.NO)
        return context

    try:
        return initialised(), None
    except RuntimeError as error:
        if "logging" not in str(error):
            raise
        # A robot whose disk is full still wants to see.
        remedy = "free the disk, or set ROS_LOG_DIR to a folder that can be written"
        return initialised("--ros-args", "--disable-external-lib-logs"), f"runs without a log file, {error}: {remedy}"


def _spin(node: PerceptionNode, stop: process.StopRequest) -> None:
    """Runs callbacks in a thread of their own, so that the main thread is free to see signals at once."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    failures: list[BaseException] = []

    def spin() -> None:
        try:
            while not stop.asked():
                executor.spin_once()
        except BaseException as error:  # raised again below, in the main thread
            failures.append(error)
            stop.ask()

    thread = threading.Thread(target=spin, name="hybridnet executor")
    if node.autostart:
        executor.create_task(node.start)
    thread.start()
    stop.wait()
    executor.create_task(lambda: None)  # wakes the executor
    thread.join()
    node.get_logger().info("stopping")
    node.finish()
    executor.remove_node(node)
    executor.shutdown()
    node.destroy_node()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main())
