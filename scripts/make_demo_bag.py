#!/usr/bin/env python3
"""Makes demo/kitti_sequence: consecutive KITTI frames with calibration and LiDAR depth, as a ROS 2 bag.

    python scripts/make_demo_bag.py FOLDER [--frames 40] [--quality 88] [--output demo/kitti_sequence]

FOLDER holds `image/*.jpg` (or .png), `depth_lidar/*.png` (uint16, metres * 256, 0 = no measurement) of the same names,
and `camera.json` (width, height, rate_hz, frame_id, distortion_model, d, k). Three topics come out, one message a
frame and all with the frame's stamp:

    /camera/image_rect/compressed   sensor_msgs/CompressedImage   jpeg
    /camera/camera_info             sensor_msgs/CameraInfo
    /lidar/depth/compressed         sensor_msgs/CompressedImage   16UC1 in a PNG: millimetres, 0 = no measurement

The depth is what image_transport's `compressed` writes for the 16UC1 depth images of REP-118: RViz and `image_transport
republish` show it as it is, and it is a twentieth of the size of a 32FC1 image. It cannot say more than 65.5 m.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hybridnet_ros.scene.depth import depth_to_millimetres

# The source has no stamps. KITTI recorded this drive on 26 September 2011; the hour is made up.
FIRST_STAMP_NS = 1_317_031_200_000_000_000
LARGEST_BAG = 6_000_000


def main() -> None:
    """Read the command line, write the bag, say how large it is."""
    options = parse_arguments()
    camera = json.loads((options.folder / "camera.json").read_text())
    images = sorted(path for path in (options.folder / "image").iterdir() if path.suffix in (".jpg", ".png"))
    if len(images) < options.first + options.frames:
        sys.exit(f"{options.folder / 'image'} has {len(images)} images, {options.first + options.frames} are needed")
    write_bag(options.output, images[options.first : options.first + options.frames], camera, options.quality)
    size = sum(path.stat().st_size for path in options.output.iterdir())
    print(f"{options.output}: {options.frames} frames, {size / 1e6:.2f} MB")
    if size > LARGEST_BAG:
        sys.exit(f"that is more than {LARGEST_BAG / 1e6:.0f} MB: use fewer --frames or a lower --quality")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with image/, depth_lidar/ and camera.json")
    parser.add_argument("--output", type=Path, default=Path("demo/kitti_sequence"), help="bag folder to make")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    parser.add_argument("--frames", type=int, default=40, help="how many frames")
    parser.add_argument("--quality", type=int, default=88, help="JPEG quality of the images, which are encoded anew")
    return parser.parse_args()


def write_bag(output: Path, images: list[Path], camera: dict[str, Any], quality: int) -> None:
    """Write the frames to the bag folder `output`; what stands there besides the bag stays."""
    # Humble's definitions, and version 8 of the metadata, are read by every ROS 2 distribution since.
    types = get_typestore(Stores.ROS2_HUMBLE)
    image_type, info_type = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
    bag = output.with_name(output.name + ".writing") / output.name
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.set_custom_data("source", "KITTI Vision Benchmark Suite; see README.md beside this file")
        writer.set_custom_data("licence", "CC BY-NC-SA 3.0")
        topics = {
            kind: writer.add_connection(topic, message_type, typestore=types)
            for kind, topic, message_type in (
                ("image", "/camera/image_rect/compressed", image_type),
                ("camera_info", "/camera/camera_info", info_type),
                ("depth", "/lidar/depth/compressed", image_type),
            )
        }
        for number, path in enumerate(images):
            stamp_ns = FIRST_STAMP_NS + round(number * 1e9 / camera["rate_hz"])
            header = make_header(types, stamp_ns, camera["frame_id"])
            messages = {
                "camera_info": make_camera_info(types, header, camera),
                "image": types.types[image_type](header, "rgb8; jpeg compressed bgr8", encode_image(path, quality)),
                "depth": types.types[image_type](header, "16UC1; png compressed ", encode_depth(path)),
            }
            for kind, message in messages.items():
                writer.write(topics[kind], stamp_ns, types.serialize_cdr(message, topics[kind].msgtype))
    output.mkdir(parents=True, exist_ok=True)
    for path in bag.iterdir():
        path.replace(output / path.name)
    bag.rmdir()
    bag.parent.rmdir()


def encode_image(path: Path, quality: int) -> np.ndarray:
    """The image at `path` as JPEG bytes."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].ravel()


def encode_depth(path: Path) -> np.ndarray:
    """The LiDAR depth that goes with the image at `path`, in millimetres, as PNG bytes."""
    stored = cv2.imread(str(path.parent.parent / "depth_lidar" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
    depth = depth_to_millimetres(stored.astype(np.float32) / 256)
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
    return cv2.imencode(".png", depth, options)[1].ravel()


def make_header(types: Any, stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types.types["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    return types.types["std_msgs/msg/Header"](stamp, frame_id)


def make_camera_info(types: Any, header: Any, camera: dict[str, Any]) -> Any:
    """A sensor_msgs/CameraInfo for rectified images."""
    return types.types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=camera["height"],
        width=camera["width"],
        distortion_model=camera["distortion_model"],
        d=np.array(camera["d"], np.float64),
        k=np.array(camera["k"], np.float64),
        r=np.eye(3).ravel(),
        # KITTI's own P projects from its grey camera's frame; ROS's from this camera's, where it is K and no offset.
        p=np.column_stack([np.reshape(camera["k"], (3, 3)), np.zeros(3)]).astype(np.float64).ravel(),
        binning_x=0,
        binning_y=0,
        roi=types.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


if __name__ == "__main__":
    main()
