"""The command line of `hybridnet view`: a recording and what the network sees in it, in a window or as a video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hybridnet_ros.terminal import Progress, positive

if TYPE_CHECKING:
    from hybridnet_ros.engine import Engine
    from hybridnet_ros.offline.seeing import Recording

DESCRIPTION = """\
Runs an engine over a recording (bag, folder of images, video) and shows image, depth, labels and point cloud in one
window of the rerun viewer (pip install rerun-sdk), or writes image, depth and labels side by side as an MP4 video
(pip install av). Neither needs ROS. Points need CameraInfo in the recording, or --fx.

The viewer reports anonymous usage data to its makers until told not to: rerun analytics disable
"""
EXAMPLES = """\
examples:
  hybridnet view drive                                 the only camera of a bag, in a window
  hybridnet view drive --topic /front/image_raw --save drive.rrd     for later, or another machine: rerun drive.rrd
  hybridnet view drive --mp4 drive.mp4                 a video of image, depth and labels, at the speed it was recorded
  hybridnet view images/ --fx 721.5 --frames 100       the first hundred of a folder
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("recording", type=Path, metavar="BAG", help="bag, folder of images, or video")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--save", type=Path, metavar="FILE.rrd", help="write a file for the viewer; open no window")
    target.add_argument("--mp4", type=Path, metavar="FILE.mp4", help="write a video; open no window")
    parser.add_argument(
        "--engine", default="driving", help="name of a shipped engine or path of an .onnx file (driving)"
    )
    parser.add_argument("--runtime", default="auto", help="what runs the engine, see `hybridnet info` (auto)")
    parser.add_argument("--topic", default="", help="image topic (the only one there is)")
    parser.add_argument("--camera-info", default="", metavar="TOPIC", help="CameraInfo (camera_info beside the topic)")
    parser.add_argument("--fx", type=positive(float), help="focal length in px of images without CameraInfo")
    parser.add_argument("--frames", type=positive(int), metavar="N", help="only the first so many (all)")
    parser.add_argument("--min-depth", type=float, default=0.1, metavar="M", help="nearer is too near (0.1)")
    parser.add_argument("--max-depth", type=float, default=80.0, metavar="M", help="farther is beyond range (80)")
    parser.add_argument(
        "--every", type=positive(int), default=2, metavar="N", help="points of every Nth row and column (2)"
    )
    parser.add_argument("--width", type=positive(int), default=1920, metavar="PX", help="of the video at most (1920)")


def main(arguments: argparse.Namespace) -> int:
    """Show it; returns the exit code."""
    try:
        from hybridnet_ros.offline.seeing import Recording
    except ImportError as error:
        return _fail(f"this needs the module {error.name}: pip install 'hybridnet_ros[offline]'")
    from hybridnet_ros.engine import EngineError, ManifestError, open_engine
    from hybridnet_ros.offline.bag import BagError
    from hybridnet_ros.offline.evaluation import EvaluationError
    from hybridnet_ros.offline.rerun_window import RerunError
    from hybridnet_ros.offline.video import VideoError
    from hybridnet_ros.resources import ResourceError

    if not arguments.min_depth < arguments.max_depth:
        return _fail(f"--min-depth {arguments.min_depth:g} must be less than --max-depth {arguments.max_depth:g}")
    progress = Progress()
    try:
        recording = Recording(arguments.recording, arguments.topic, arguments.camera_info, arguments.fx)
        with open_engine(arguments.engine, arguments.runtime) as engine:
            if arguments.mp4 is not None:
                shown = _write_video(recording, engine, arguments, progress)
            else:
                shown = _show(recording, engine, arguments, progress)
    except (
        BagError,
        EngineError,
        EvaluationError,
        ManifestError,
        RerunError,
        ResourceError,
        VideoError,
        OSError,
    ) as error:
        progress.close()
        return _fail(str(error))
    except KeyboardInterrupt:
        progress.close()
        return _fail("stopped; what was done before is kept", code=130)
    progress.close()
    if recording.skipped:
        print(f"hybridnet view: left out, since they could not be decoded: {recording.skipped} images", file=sys.stderr)
    if not shown:
        return _fail(f"{arguments.recording}: no image could be shown")
    target = arguments.mp4 or arguments.save
    print(f"{shown} frames{f': {target.resolve()}' if target else ''}")
    return 0


def _write_video(recording: Recording, engine: Engine, arguments: argparse.Namespace, progress: Progress) -> int:
    from hybridnet_ros.offline.seeing import side_by_side
    from hybridnet_ros.offline.video import VideoFile

    with VideoFile(arguments.mp4) as video:
        for seen in recording.look(engine, arguments.min_depth, arguments.max_depth, arguments.frames):
            video.add(side_by_side(seen, engine.manifest, arguments.width), seen.stamp_ns)
            progress.show(_state(recording, arguments, video.frames))
    return video.frames


def _show(recording: Recording, engine: Engine, arguments: argparse.Namespace, progress: Progress) -> int:
    from hybridnet_ros.offline.rerun_window import RerunWindow

    shown = 0
    window = RerunWindow(arguments.recording.name, engine.manifest, arguments.save, arguments.every)
    try:
        for seen in recording.look(engine, arguments.min_depth, arguments.max_depth, arguments.frames):
            window.show(seen)
            shown += 1
            progress.show(_state(recording, arguments, shown))
    finally:
        window.close()
    return shown


def _state(recording: Recording, arguments: argparse.Namespace, done: int) -> str:
    total = min(recording.stream.count, arguments.frames or recording.stream.count)
    return f"{done} of {total} frames"


def _fail(reason: str, code: int = 1) -> int:
    print(f"hybridnet view: {reason}", file=sys.stderr)
    return code
