"""Messages as they come off the wire, for rclpy and for the rosbags library: every test holds for both."""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sensor_msgs.msg
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import Header

TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Library:
    """Makes messages of one library from ROS messages, by serialising and deserialising them."""

    name: str

    def receive(self, msg: Any) -> Any:
        """`msg` as a subscriber (rclpy) or a bag reader (rosbags) gets it."""
        wire = serialize_message(msg)
        if self.name == "rclpy":
            return deserialize_message(wire, type(msg))
        return TYPES.deserialize_cdr(wire, f"sensor_msgs/msg/{type(msg).__name__}")

    def send(self, msg: Any) -> Any:
        """`msg`, filled by the code under test, as ROS message at the other end of the wire."""
        kind = getattr(sensor_msgs.msg, type(msg).__name__.split("__")[-1])
        if self.name == "rclpy":
            return deserialize_message(serialize_message(msg), kind)
        return deserialize_message(bytes(TYPES.serialize_cdr(msg, msg.__msgtype__)), kind)

    def image(self, data: bytes | np.ndarray, **fields: Any) -> Any:
        """A received Image with this data and these fields."""
        return self.receive(_filled(sensor_msgs.msg.Image(), data=array.array("B", bytes(data)), **fields))

    def compressed(self, data: bytes, format_name: str = "jpeg") -> Any:
        """A received CompressedImage."""
        return self.receive(_filled(sensor_msgs.msg.CompressedImage(), data=array.array("B", data), format=format_name))

    def camera_info(self, **fields: Any) -> Any:
        """A received CameraInfo."""
        return self.receive(_filled(sensor_msgs.msg.CameraInfo(), **fields))

    def blank(self, kind: str) -> Any:
        """An empty message to fill: "Image", "CameraInfo" or "PointCloud2"."""
        return self.receive(getattr(sensor_msgs.msg, kind)())

    def header(self) -> Any:
        """A header with a stamp and frame that no default has."""
        image = sensor_msgs.msg.Image(header=a_header())
        return self.receive(image).header

    @property
    def point_field(self) -> Any:
        """The PointField class of this library."""
        return sensor_msgs.msg.PointField if self.name == "rclpy" else TYPES.types["sensor_msgs/msg/PointField"]


def a_header() -> Header:
    header = Header(frame_id="front_optical")
    header.stamp.sec, header.stamp.nanosec = 1317384507, 906123456
    return header


def _filled(msg: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(msg, name, value)
    return msg


@pytest.fixture(scope="session", params=["rclpy", "rosbags"])
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)
