"""Arrays become messages whose bytes on the wire are those of the slow way through the setters of rclpy."""

from __future__ import annotations

import array

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from hybridnet_ros.messages import (
    MessageError,
    depth_from_image,
    fill_image,
    image_fields,
    image_to_rgb,
    labels_from_image,
)

HEIGHT, WIDTH = 7, 5
ARRAYS = {
    "32FC1": np.linspace(0, 80, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH),
    "16UC1": np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 999,
    "mono16": np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH),
    "mono8": np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH),
    "8UC1": np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH),
    "rgb8": np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3),
    "bgr8": np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3),
}


def slow_message(library, pixels: np.ndarray, encoding: str) -> Image:
    """The same image by the setters of rclpy."""
    msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=pixels.nbytes // HEIGHT)
    header = library.header()
    msg.header.frame_id = header.frame_id
    msg.header.stamp.sec, msg.header.stamp.nanosec = int(header.stamp.sec), int(header.stamp.nanosec)
    msg.data = array.array("B", pixels.tobytes())
    return msg


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("encoding", sorted(ARRAYS))
def test_bytes_on_the_wire_are_those_of_the_slow_way(library, encoding, contiguous):
    pixels = ARRAYS[encoding] if contiguous else np.flip(ARRAYS[encoding], axis=1)
    msg = library.blank("Image")
    assert fill_image(msg, pixels, encoding, library.header()) is msg
    fast, slow = (serialize_message(each) for each in (library.send(msg), slow_message(library, pixels, encoding)))
    # Not the bytes themselves: those that only align the next field are whatever was in memory.
    assert len(fast) == len(slow)
    assert deserialize_message(fast, Image) == deserialize_message(slow, Image)


def test_stamp_and_frame_are_those_of_the_source(library):
    sent = library.send(fill_image(library.blank("Image"), ARRAYS["mono8"], "mono8", library.header()))
    assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (1317384507, 906123456)
    assert sent.header.frame_id == "front_optical"


def test_what_is_filled_reads_back_equal(library):
    def around(encoding):
        return library.receive(library.send(fill_image(library.blank("Image"), ARRAYS[encoding], encoding)))

    np.testing.assert_array_equal(depth_from_image(around("32FC1")), ARRAYS["32FC1"])
    np.testing.assert_array_equal(labels_from_image(around("mono8")), ARRAYS["mono8"])
    np.testing.assert_array_equal(image_to_rgb(around("rgb8")), ARRAYS["rgb8"])
    np.testing.assert_array_equal(image_to_rgb(around("bgr8")), ARRAYS["bgr8"][..., ::-1])


def test_pixels_are_not_copied(library):
    msg = fill_image(library.blank("Image"), ARRAYS["32FC1"], "32FC1")
    assert np.shares_memory(msg.data, ARRAYS["32FC1"])


def test_fields_make_a_message_by_its_constructor(library):
    blank = library.blank("Image")
    msg = type(blank)(header=library.header(), **image_fields(ARRAYS["mono8"], "mono8"))
    np.testing.assert_array_equal(labels_from_image(msg), ARRAYS["mono8"])


REFUSED = {
    "wrong type": (np.zeros((2, 3)), "32FC1", r"float64 \[2, 3\] cannot be sent as '32FC1': float32 \[H, W\]"),
    "wrong channels": (np.zeros((2, 3, 4), np.uint8), "rgb8", r"uint8 \[2, 3, 4\].*uint8 \[H, W, 3\]"),
    "too many sides": (np.zeros((1, 2, 3), np.uint8), "mono8", r"uint8 \[1, 2, 3\]"),
    "too few sides": (np.zeros(6, np.uint8), "mono8", r"uint8 \[6\]"),
    "empty": (np.zeros((0, 3), np.uint8), "mono8", "not empty"),
    "unknown encoding": (np.zeros((2, 3), np.uint8), "yuv422", "'yuv422'. Supported: rgb8"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_an_array_that_does_not_fit_is_refused(library, case):
    pixels, encoding, reason = REFUSED[case]
    with pytest.raises(MessageError, match=reason):
        fill_image(library.blank("Image"), pixels, encoding)
