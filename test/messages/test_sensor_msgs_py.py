"""Where sensor_msgs_py is installed, the cloud is the one it makes and reads, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2, PointField

from hybridnet_ros.messages import fill_points, point_type
from hybridnet_ros.messages.clouds import FIELDS, POINT_STEP, own_point_type
from hybridnet_ros.scene.camera import CameraModel

point_cloud2 = pytest.importorskip("sensor_msgs_py.point_cloud2")

HEIGHT, WIDTH = 12, 16
RANDOM = np.random.default_rng(11)


def test_the_point_type_is_the_one_of_sensor_msgs_py():
    assert own_point_type() == point_cloud2.dtype_from_fields(FIELDS, POINT_STEP)
    assert point_type() == own_point_type()


def test_the_cloud_is_the_one_that_sensor_msgs_py_makes_and_reads():
    camera = CameraModel(WIDTH, HEIGHT, 20.0, 20.0, 8.0, 6.0)
    depth = RANDOM.uniform(1, 80, (HEIGHT, WIDTH)).astype(np.float32)
    rgb = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    labels = RANDOM.integers(0, 19, (HEIGHT, WIDTH)).astype(np.uint8)
    cloud = fill_points(PointCloud2(), depth, rgb, labels, labels, camera, PointField)
    points = point_cloud2.read_points(cloud)
    np.testing.assert_array_equal(points["z"].ravel(), depth.ravel())
    np.testing.assert_array_equal(points["label"].ravel(), labels.ravel())
    made = point_cloud2.create_cloud(cloud.header, cloud.fields, points.ravel(), POINT_STEP)
    assert bytes(made.data) == bytes(cloud.data)
    assert (made.point_step, made.is_bigendian, made.is_dense) == (cloud.point_step, cloud.is_bigendian, cloud.is_dense)
