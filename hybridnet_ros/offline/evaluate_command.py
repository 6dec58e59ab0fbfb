"""The command line of `hybridnet evaluate-bag`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hybridnet_ros.terminal import positive

DESCRIPTION = """\
Runs an engine over recordings (bags, folders of images, videos) and says how good it is on them: without ROS.

With references (depth images, LiDAR, label images) it measures depth and labels against them, by distance and by
class. Without, it says what can be known: confidence, class shares, how steady it is from frame to frame, and which
frames to look at. A folder comes out, with
    evaluation.json   all figures; `hybridnet compare` sets two of them side by side
    report.html       the same as a page, with pictures
    predictions/      a bag for each image topic, to play beside the recording: the node's topics, types and stamps
Stop it with Ctrl-C: what is done is kept, and the same command goes on from there.
"""
EXAMPLES = """\
examples:
  hybridnet evaluate-bag drive                            the only camera of a bag (a folder, or an .mcap or .db3 file)
  hybridnet evaluate-bag drive --topic /front/image_raw --topic /rear/image_raw
  hybridnet evaluate-bag drive --depth-topic /depth/image               32FC1, 16UC1, or their PNG (compressed)
  hybridnet evaluate-bag drive --depth-topic /velodyne_points           projected, with /tf_static and /tf of the bag
  hybridnet evaluate-bag drive --depth-topic /velodyne_points --extrinsic lidar_to_camera.yaml
  hybridnet evaluate-bag drive --labels-topic /labels --classes camvid11
  hybridnet evaluate-bag monday tuesday --workers 8 --output week       many bags at once
  hybridnet evaluate-bag week/* --ray auto                              the same on a Ray cluster
  hybridnet evaluate-bag images/ --fx 721.5 --depth-folder depth/       files of the same names, millimetres
  hybridnet evaluate-bag drive.mp4 --fx 900 --no-bag
"""


_MOST_EDGES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    add = parser.add_argument
    add("recordings", type=Path, nargs="+", metavar="BAG", help="bag, folder of images, or video")
    add("--output", type=Path, default=Path("evaluation"), help="folder to write (evaluation)")
    add("--overwrite", action="store_true", help="begin anew where the output folder has an evaluation already")
    add("--engine", default="driving", help="name of a shipped engine or path of an .onnx file (driving)")
    add("--runtime", default="auto", help="what runs the engine, see `hybridnet info` (auto)")
    add("--threads", type=positive(int), default=1, help="CPU threads of the engine in each worker (1)")
    add("--workers", type=positive(int), help="processes (one for each core, of the cluster with --ray; one on a GPU)")
    add("--ray", metavar="ADDRESS", help="work on a Ray cluster: its address, `auto` or `local`")

    images = parser.add_argument_group("images")
    add = images.add_argument
    add("--topic", action="append", default=[], help="image topic; may be given more than once (the only one there is)")
    add("--camera-info", default="", metavar="TOPIC", help="CameraInfo of the images (camera_info beside the topic)")
    add("--fx", type=positive(float), help="focal length in px of images without CameraInfo")

    references = parser.add_argument_group("references")
    add = references.add_mutually_exclusive_group().add_argument
    add("--depth-topic", default="", metavar="TOPIC", help="depth image or PointCloud2")
    add(
        "--depth-folder",
        type=Path,
        metavar="DIR",
        help="16-bit PNG, or .npy in metres; named like the image, the video's frame number, or the stamp (ns)",
    )
    add = references.add_argument
    add(
        "--depth-scale",
        type=positive(float),
        metavar="N",
        help="units a metre in the PNGs of --depth-folder (1000; KITTI has 256)",
    )
    add(
        "--extrinsic",
        type=Path,
        metavar="YAML",
        help="LiDAR to camera: `matrix`, or `translation` and `rotation` x y z w (from /tf_static and /tf)",
    )
    add = references.add_mutually_exclusive_group().add_argument
    add("--labels-topic", default="", metavar="TOPIC", help="label image, mono8 or 8-bit PNG")
    add("--labels-folder", type=Path, metavar="DIR", help="8-bit grey PNG, named as in --depth-folder")
    add = references.add_argument
    add(
        "--classes",
        default="",
        metavar="NAME|YAML",
        help="what the labels' values mean: a label set such as camvid11, whose ids they are, or a file; see "
        "config/labels (the bag's LabelInfo, else the engine's ids)",
    )
    add(
        "--tolerance",
        type=positive(float),
        default=0.05,
        metavar="S",
        help="a reference's stamp may differ by so many seconds (0.05)",
    )
    add("--cap", type=positive(float), default=80.0, metavar="M", help="reference depth beyond it does not count (80)")
    add(
        "--bands",
        type=distances,
        default=(0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0),
        metavar="M,M,...",
        help="edges of the distance bands, of depth and of labels (0,2,5,10,20,40,80)",
    )

    outputs = parser.add_argument_group("predictions, as the node's parameters of the same names")
    add = outputs.add_argument
    add("--min-depth", type=float, default=0.1, metavar="M", help="nearer is -Inf (0.1)")
    add("--max-depth", type=float, default=80.0, metavar="M", help="farther is +Inf (80)")
    add("--min-confidence", type=float, default=0.0, metavar="P", help="labels less probable are 255 (0)")
    add("--depth-encoding", choices=("32FC1", "16UC1"), default="32FC1", help="of the prediction bag (32FC1)")
    add("--colors", action="store_true", help="also write depth/color and segmentation/color")
    add("--points", action="store_true", help="also write the point cloud")
    add("--compress", action="store_true", help="compress the prediction bag with zstd: smaller, and slower to write")
    add("--no-bag", action="store_true", help="write no prediction bag (2.8 MB a frame of 1242x375)")


def distances(text: str) -> tuple[float, ...]:
    """An argparse type: ascending distances with commas between them."""
    edges = tuple(float(part) for part in text.split(","))
    ascending = all(near < far for near, far in zip(edges[:-1], edges[1:], strict=True))
    if not 2 <= len(edges) <= _MOST_EDGES or edges[0] < 0 or not ascending:
        raise ValueError(text)
    return edges


def main(arguments: argparse.Namespace) -> int:
    """Evaluate; returns the exit code: 0 only where all is done."""
    if arguments.workers != 1 and arguments.ray is None:
        from hybridnet_ros.offline.processes import warm_up

        warm_up()
    try:
        from hybridnet_ros.offline.evaluate import STOPPED, evaluate
    except ImportError as error:
        return _fail(f"this needs the module {error.name}: pip install 'hybridnet_ros[offline]'")
    from hybridnet_ros.engine import EngineError
    from hybridnet_ros.offline.bag import BagError
    from hybridnet_ros.offline.evaluation import COMPLETE, EvaluationError
    from hybridnet_ros.offline.wording import DEPTH, overall_rows
    from hybridnet_ros.resources import ResourceError
    from hybridnet_ros.scene.labels import LabelError

    if not arguments.min_depth < arguments.max_depth:
        return _fail(f"--min-depth {arguments.min_depth:g} must be less than --max-depth {arguments.max_depth:g}")
    for option, needs, idle in (
        ("--depth-scale", "--depth-folder", arguments.depth_scale and not arguments.depth_folder),
        ("--extrinsic", "--depth-topic", arguments.extrinsic and not arguments.depth_topic),
        ("--classes", "--labels-topic or --labels-folder",
         arguments.classes and not (arguments.labels_topic or arguments.labels_folder)),
    ):  # fmt: skip
        if idle:
            return _fail(f"{option} is of no use without {needs}")
    try:
        evaluation, page = evaluate(arguments)
    except (BagError, EngineError, EvaluationError, LabelError, ResourceError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("stopped at once; what was finished before is kept in the output folder", code=130)
    rows, depth = overall_rows(evaluation.total), evaluation.total.depth
    if depth is not None:
        rows += [(f"depth {w.name}", w.text(getattr(depth, name)), w.meaning) for name, w in DEPTH.items()]
    names, values = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    print("\n".join(f"  {name:<{names}}  {value:>{values}}  {meaning}" for name, value, meaning in rows))
    print(f"\npictures and figures: {page.resolve()}")
    if evaluation.status == COMPLETE:
        return 0
    for stream in evaluation.streams:
        for problem in stream.problems:
            print(f"hybridnet evaluate-bag: {stream.source}: {problem}", file=sys.stderr)
    reasons = [*evaluation.problems, "the figures are of a part of the recordings only"]
    return _fail("; ".join(reasons), code=130 if STOPPED in evaluation.problems else 1)


def _fail(reason: str, code: int = 1) -> int:
    print(f"hybridnet evaluate-bag: {reason}", file=sys.stderr)
    return code
