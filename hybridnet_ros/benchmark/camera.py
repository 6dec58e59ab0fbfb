"""The benchmark's camera, a process of its own, which plays the demo's recorded drive at any size and rate.

    python -m hybridnet_ros.benchmark.camera BAG --width 1280 --height 720 [--jpeg] [--reliable]

It says `ready` once somebody subscribes. To each line `go RATE COUNT` on its standard input it publishes that many
frames at so many Hz, and answers with one line of JSON: the stamps in ns, and how late the latest frame was, in ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hybridnet_ros.demo.recording import read_messages
from hybridnet_ros.memory import keep_image_memory
from hybridnet_ros.messages.layout import set_data
from hybridnet_ros.node.player import Camera, NobodyListens, say
from hybridnet_ros.node.resized import image_kind, resized
from hybridnet_ros.offline.bag import BagError

IMAGE_TOPIC, INFO_TOPIC = "/camera/image", "/camera/camera_info"

_PICTURES = 16  # of the drive, spread over all of it: each is 6 MB at 1080p
_PATIENCE_S = 60.0


def main() -> None:
    """Plays until standard input is closed; exits with the reason if that cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--jpeg", action="store_true", help="as CompressedImage; else raw rgb8")
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--no-infos", action="store_true", help="do not wait for somebody who wants CameraInfo")
    options = parser.parse_args()
    keep_image_memory()
    try:
        frames = make_frames(options.bag, options.width, options.height, options.jpeg)
        topic = f"{IMAGE_TOPIC}/compressed" if options.jpeg else IMAGE_TOPIC
        with Camera(image_kind(options.jpeg), topic, INFO_TOPIC, options.reliable) as camera:
            camera.wait_for_subscribers(_PATIENCE_S, infos=not options.no_infos)
            say("ready")
            for line in sys.stdin:
                _, rate, count = line.split()
                say(json.dumps(play(camera, frames, float(rate), int(count))))
    except (BagError, NobodyListens) as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def make_frames(bag: Path, width: int, height: int, jpeg: bool) -> list[tuple[Any, Any]]:
    """Messages of recorded frames, resized."""
    recorded = read_messages(bag)
    chosen = recorded[:: max(1, len(recorded) // _PICTURES)][:_PICTURES]
    return [resized(image, info, width, height, jpeg) for _, image, info in chosen]


def play(camera: Camera, frames: list[tuple[Any, Any]], rate: float, count: int) -> dict[str, Any]:
    """Publishes `count` frames at `rate` Hz, over and over again; returns what is told about it."""
    stamps, late = [], 0.0
    start = time.monotonic()
    for number in range(count):
        due = start + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        late = max(late, time.monotonic() - due)
        image, info = frames[number % len(frames)]
        stamps.append(camera.publish(rewritten(image), info))
    return {"stamps": stamps, "seconds": time.monotonic() - start, "latest_ms": late * 1e3}


def rewritten(image: Any) -> Any:
    """The same message, its pixels written anew.

    A driver has just done that when it publishes: they are in the processor's cache. Those of a picture that was made
    long ago are not.
    """
    if hasattr(image, "step"):  # JPEG is small
        set_data(image, np.array(image.data))
    return image


if __name__ == "__main__":
    main()
