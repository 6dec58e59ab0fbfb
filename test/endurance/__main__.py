"""The command line of scripts/endurance: runs one of the long tests with a node of its own and writes the JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

from endurance import bare_node, fuzz, soak, walks
from hybridnet_ros.machine import machine
from hybridnet_ros.node.process import set_dds_profile
from hybridnet_ros.processes import isolate_ros
from ros_testing import NodeProcess, Robot
from tiny import write_tiny_engine


def main() -> None:
    """Runs what the command line asks for; ends with an AssertionError if the node did not hold."""
    options = arguments().parse_args()
    isolate_ros(None)
    set_dds_profile(os.environ)
    start = time.monotonic()
    result = {"fuzz": run_fuzz, "walks": run_walks, "soak": run_soak}[options.what](options)
    words = " ".join(sys.argv[1:]).replace(f" --output {options.output}", "")
    result = {"command": f"scripts/endurance {words}", "machine": machine(), **result}
    result["seconds"] = round(time.monotonic() - start, 1)
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    if options.output is not None:
        options.output.write_text(text)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/endurance", description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("what", choices=("fuzz", "walks", "soak"))
    parser.add_argument("--messages", type=int, default=20_000, help="fuzz: malformed messages to send")
    parser.add_argument("--walks", type=int, default=1000, help="walks: how many")
    parser.add_argument("--seed", type=int, default=1, help="fuzz, walks: of the random numbers")
    parser.add_argument("--minutes", type=float, default=20.0, help="soak: how long")
    parser.add_argument("--engine", default="driving", help="soak: name or path of the engine")
    parser.add_argument("--rate", type=float, default=60.0, help="soak: images a second, more than can be answered")
    parser.add_argument("--size", default="1280x720", help="soak: of the images")
    return parser


def run_fuzz(options: argparse.Namespace) -> dict[str, Any]:
    """Seven in ten messages are raw images or CameraInfo, the others compressed images."""
    compressed = options.messages * 3 // 10
    with node_and_robot("/fuzz_raw", input_transport="raw", **fuzz.NODE_PARAMETERS) as (node, robot):
        raw_result = fuzz.fuzz_raw(node, robot, options.messages - compressed, options.seed, say)
    with node_and_robot("/fuzz_compressed", False, input_transport="compressed", **fuzz.NODE_PARAMETERS) as (
        node,
        robot,
    ):
        robot.compressed_camera()
        compressed_result = fuzz.fuzz_compressed(node, robot, compressed, options.seed, say)
    sent = sum(sum(one["malformed_sent"].values()) for one in (raw_result, compressed_result))
    return {"malformed_messages": sent, "seed": options.seed, "raw": raw_result, "compressed": compressed_result}


def run_walks(options: argparse.Namespace) -> dict[str, Any]:
    """One node through all of them, and a bare node of rclpy through as many, for what would grow without us."""
    with node_and_robot("/walks", **walks.NODE_PARAMETERS) as (node, robot):
        ours = walks.walk(node, robot, options.walks, options.seed, say)
    with node_and_robot("/bare", program=(str(bare_node.__file__),)) as (node, robot):
        bare = walks.walk(node, robot, options.walks, options.seed, say)
    return {**ours, "bare_rclpy_node": {"holdings_when_unconfigured": bare["holdings_when_unconfigured"]}}


def run_soak(options: argparse.Namespace) -> dict[str, Any]:
    """The soak starts its own processes."""
    with tempfile.TemporaryDirectory() as folder:
        return soak.run(Path(folder), options.engine, options.rate, options.size, options.minutes, say)


@contextmanager
def node_and_robot(
    namespace: str, raw: bool = True, program: Sequence[str] = NodeProcess.PROGRAM, **parameters: object
) -> Iterator[tuple[NodeProcess, Robot]]:
    """A node with the tiny engine, and a robot around it; says what the node logged if it does not go well."""
    with tempfile.TemporaryDirectory() as folder:
        parameters["engine"] = write_tiny_engine(Path(folder))
        words = ["-r", f"__ns:={namespace}"]
        for name, value in parameters.items():
            words += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        context = rclpy.Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        node, robot = NodeProcess(Path(folder) / "log", *words, program=program), Robot(context, namespace, raw)
        try:
            yield node, robot
        except BaseException:
            say(node.log()[-5000:])
            raise
        finally:
            robot.close()
            node.end()
            rclpy.shutdown(context=context)


def say(text: str) -> None:
    """Tells the user how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
