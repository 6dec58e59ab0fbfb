"""The command line of `hybridnet demo`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hybridnet_ros.resources import ResourceError, share_path
from hybridnet_ros.terminal import Progress, positive

DESCRIPTION = """\
Plays a recorded drive (KITTI, 4 s, with LiDAR) from one process over DDS into the real node in another, shows how it
goes, and ends with the rate, the age of the answers and the depth error against LiDAR, and a page of pictures.

It keeps to this machine and to a ROS domain of its own. It needs ROS 2, sourced or from pip; in a checkout
    pip install '.[ros,offline]'
installs everything, and scripts/demo does that by itself.
"""
EXAMPLES = """\
examples:
  hybridnet demo                                   the shipped engine, images as fast as they were recorded (10 Hz)
  hybridnet demo --rate 30                         more images than a small processor answers: the newest is taken
  hybridnet demo --engine ~/my_network.onnx        your own engine, with its .json beside it
  hybridnet demo --loops 20 --domain 7             long enough to look at it: ROS_DOMAIN_ID=7 rviz2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "--engine", default="driving", help="name of a shipped engine or path of an .onnx file (driving)"
    )
    parser.add_argument("--runtime", default="auto", help="what runs the engine, see `hybridnet info` (auto)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the page (demo_output)")
    parser.add_argument("--rate", type=positive(float), help="images a second (as recorded)")
    parser.add_argument("--loops", type=positive(int), default=3, help="how often to play the recording (3)")
    parser.add_argument("--frames", type=positive(int), help="play only the first so many frames (all)")
    parser.add_argument("--domain", type=int, choices=range(233), metavar="0..232", help="ROS domain (a free one)")


def main(arguments: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    try:
        from hybridnet_ros.demo.page import write_page
        from hybridnet_ros.demo.run import DemoError, Options, run
    except ImportError as error:
        return _fail(f"the demo needs the module {error.name}: source a ROS 2 installation and `pip install jinja2 "
                     "rosbags`, or get everything with `pip install '.[ros,offline]'` in a checkout")  # fmt: skip
    from hybridnet_ros.demo.recording import read_frames
    from hybridnet_ros.engine import EngineError, ManifestError, open_engine
    from hybridnet_ros.offline.bag import BagError
    from hybridnet_ros.processes import ProcessDied

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    progress = Progress()
    try:
        bag = share_path("demo", "kitti_sequence")
        frames = read_frames(bag, arguments.frames)
        # Here too, so that what is wrong with an engine is said at once; its manifest explains the answers.
        with open_engine(arguments.engine, arguments.runtime) as engine:
            pass
        arguments.output.mkdir(parents=True, exist_ok=True)
        options = Options(bag, arguments.engine, arguments.runtime, arguments.output, arguments.rate, arguments.loops,
                          arguments.frames, arguments.domain)  # fmt: skip
        result, record = run(options, engine, frames, progress)
        page = arguments.output / "index.html"
        write_page(page, result, frames, record.newest, engine.manifest)
        result.save(arguments.output / "result.json")
    except (BagError, DemoError, EngineError, ManifestError, ProcessDied, ResourceError, OSError) as error:
        progress.close()
        return _fail(str(error))
    except KeyboardInterrupt:
        progress.close()
        return _fail("stopped", code=130)
    print(f"\n{result.table()}\n\npictures and figures: {page.resolve()}")
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(reason: str, code: int = 1) -> int:
    print(f"hybridnet demo: {reason}", file=sys.stderr)
    return code
