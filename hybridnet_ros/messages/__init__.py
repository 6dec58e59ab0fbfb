"""sensor_msgs <-> numpy without copies; works on rclpy messages and on the messages of the rosbags library alike."""

from .camera_info import camera_info_fields, camera_model, contents, fill_camera_info, is_rectified
from .camera_infos import CameraInfos
from .clouds import cloud_fields, cloud_xyz, fill_points, make_points, point_type
from .compressed import compressed_to_rgb
from .either import to_depth, to_labels, to_rgb
from .images import ENCODINGS, depth_from_image, fill_image, image_fields, image_to_rgb, labels_from_image
from .layout import MAX_PIXELS, MessageError

__all__ = [
    "ENCODINGS",
    "CameraInfos",
    "MAX_PIXELS",
    "MessageError",
    "camera_info_fields",
    "camera_model",
    "cloud_fields",
    "cloud_xyz",
    "compressed_to_rgb",
    "depth_from_image",
    "contents",
    "fill_camera_info",
    "fill_image",
    "fill_points",
    "image_fields",
    "image_to_rgb",
    "is_rectified",
    "labels_from_image",
    "make_points",
    "point_type",
    "to_depth",
    "to_labels",
    "to_rgb",
]
