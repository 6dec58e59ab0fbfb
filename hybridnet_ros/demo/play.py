"""The demo's camera, a process of its own: python -m hybridnet_ros.demo.play BAG [--frames N] [--rate HZ] [--loops N]

See node/player.py for what it says and what it waits for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hybridnet_ros.demo.recording import IMAGE_TOPIC, INFO_TOPIC, read_messages
from hybridnet_ros.node.player import CameraFrame, NobodyListens, play
from hybridnet_ros.offline.bag import BagError


def main() -> None:
    """Play the bag; exit with the reason if that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--loops", type=int, default=1)
    options = parser.parse_args()
    try:
        frames = [CameraFrame(number, *rest) for number, rest in enumerate(read_messages(options.bag, options.frames))]
        play(frames, IMAGE_TOPIC, INFO_TOPIC, options.rate, options.loops)
    except (BagError, NobodyListens) as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


if __name__ == "__main__":
    main()
