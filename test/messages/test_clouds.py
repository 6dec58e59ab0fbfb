"""The cloud is organised, in the optical frame, and laid out as PCL and nav2 read it."""

from __future__ import annotations

import array
import struct

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from hybridnet_ros.messages import MessageError, fill_points, make_points
from hybridnet_ros.scene.camera import CameraModel

WIDTH, HEIGHT = 6, 4
CAMERA = CameraModel(WIDTH, HEIGHT, 10.0, 20.0, 2.5, 1.5)
RANDOM = np.random.default_rng(7)
DEPTH = RANDOM.uniform(1, 50, (HEIGHT, WIDTH)).astype(np.float32)
DEPTH[0, :3] = np.nan, np.inf, -np.inf
RGB = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
LABELS = RANDOM.integers(0, 19, (HEIGHT, WIDTH)).astype(np.uint8)
CONFIDENCE = RANDOM.integers(0, 256, (HEIGHT, WIDTH), np.uint8)


def filled(library):
    msg = library.blank("PointCloud2")
    fill_points(msg, DEPTH, RGB, LABELS, CONFIDENCE, CAMERA, library.point_field, library.header())
    return msg


def test_a_point_lies_on_the_ray_of_its_pixel():
    points = make_points(DEPTH, RGB, LABELS, CONFIDENCE, CAMERA)
    row, column = 3, 5
    z = DEPTH[row, column]
    assert points["x"][row, column] == pytest.approx((column - 2.5) / 10.0 * z, rel=1e-6)
    assert points["y"][row, column] == pytest.approx((row - 1.5) / 20.0 * z, rel=1e-6)
    assert points["z"][row, column] == z


def test_points_without_finite_depth_are_nan():
    points = make_points(DEPTH, RGB, LABELS, CONFIDENCE, CAMERA)
    for axis in ("x", "y", "z"):
        np.testing.assert_array_equal(np.isnan(points[axis]), ~np.isfinite(DEPTH))


def test_the_layout_on_the_wire_is_the_one_pcl_expects(library):
    msg = library.send(filled(library))
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (HEIGHT, WIDTH, 24, 24 * WIDTH)
    assert (msg.is_bigendian, msg.is_dense) == (False, False)
    assert [(field.name, field.offset, field.datatype, field.count) for field in msg.fields] == [
        ("x", 0, PointField.FLOAT32, 1),
        ("y", 4, PointField.FLOAT32, 1),
        ("z", 8, PointField.FLOAT32, 1),
        ("rgb", 12, PointField.FLOAT32, 1),
        ("label", 16, PointField.UINT32, 1),
        ("confidence", 20, PointField.UINT8, 1),
    ]
    row, column = 2, 1
    point = struct.unpack_from("<fffIIBxxx", msg.data, row * msg.row_step + column * msg.point_step)
    red, green, blue = (int(value) for value in RGB[row, column])
    assert point[2] == DEPTH[row, column]
    assert point[3:] == (red << 16 | green << 8 | blue, LABELS[row, column], CONFIDENCE[row, column])


def test_bytes_on_the_wire_are_those_of_the_slow_way(library):
    sent = library.send(filled(library))
    slow = PointCloud2(header=sent.header, height=HEIGHT, width=WIDTH, point_step=24, row_step=24 * WIDTH)
    slow.fields = sent.fields
    slow.data = array.array("B", make_points(DEPTH, RGB, LABELS, CONFIDENCE, CAMERA).tobytes())
    sent_again, wanted = (deserialize_message(serialize_message(each), PointCloud2) for each in (sent, slow))
    assert sent_again == wanted
    assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (1317384507, 906123456)
    assert sent.header.frame_id == "front_optical"


def test_strided_and_read_only_rgb_is_taken(library):
    padded = np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8)
    padded[:, :WIDTH] = RGB
    padded.setflags(write=False)
    expected = make_points(DEPTH, RGB, LABELS, CONFIDENCE, CAMERA)
    assert make_points(DEPTH, padded[:, :WIDTH], LABELS, CONFIDENCE, CAMERA).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["depth", "rgb", "labels", "confidence"])
def test_images_of_another_size_are_refused(name):
    images = {"depth": DEPTH, "rgb": RGB, "labels": LABELS, "confidence": CONFIDENCE}
    images[name] = images[name][1:]
    with pytest.raises(MessageError, match=rf"6x4 points needs {name} of shape \[4, 6"):
        make_points(**images, camera=CAMERA)
