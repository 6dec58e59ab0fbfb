"""The command `hybridnet`: one subcommand a job, each in a module of its own that is loaded only when it is wanted."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "build-engine": ("hybridnet_ros.build_engine", "a TensorRT plan of an engine, for this machine's GPU"),
    "benchmark": ("hybridnet_ros.benchmark.command", "how fast the network and the node are on this machine"),
    "compare": ("hybridnet_ros.offline.compare_command", "two evaluations side by side, and where they differ most"),
    "demo": ("hybridnet_ros.demo.command", "play a recorded drive through the node; figures and a page of pictures"),
    "engines": ("hybridnet_ros.engines", "which networks there are, what each is, and whether its files are right"),
    "evaluate-bag": ("hybridnet_ros.offline.evaluate_command", "how good an engine is on your own recordings"),
    "info": ("hybridnet_ros.info", "what is installed, what will run the engine, and what is missing"),
    "view": ("hybridnet_ros.offline.view_command", "a recording and what the network sees in it: window or video"),
}
"""Each subcommand's module, with `add_arguments(parser)` and `main(arguments) -> exit code`, and what it is for."""


EXAMPLES = """\
examples:
  hybridnet info                                                 what would run here, and what is missing
  hybridnet engines                                              which networks there are, and how good each is
  hybridnet demo                                                 the node on a recorded drive, and a page of pictures
  hybridnet evaluate-bag drive --depth-topic /velodyne_points    how good the engine is on your own recording
  hybridnet compare old/ new/ --output page.html                 two engines, precisions or recordings
  hybridnet view drive --mp4 drive.mp4                           what the network sees in it, as a video
"""


def main(words: Sequence[str] | None = None) -> None:
    """Run the subcommand in `words` (the command line when None) and exit with its code."""
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(
        prog="hybridnet",
        description="Metric depth and semantic labels for ROS 2 from one camera image and one network.",
        epilog=f"{EXAMPLES}\n`hybridnet COMMAND --help` says more, by example. The node itself is `hybridnet_node`,\n"
        "or with a ROS installation `ros2 launch hybridnet_ros hybridnet.launch.py image:=/camera/image_raw`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, purpose) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
        # Only the module that is asked for: the others may need packages that are not installed.
        if name in words:
            importlib.import_module(module).add_arguments(subparser)
    arguments = parser.parse_args(words)
    sys.exit(importlib.import_module(COMMANDS[arguments.command][0]).main(arguments))


if __name__ == "__main__":
    main()
