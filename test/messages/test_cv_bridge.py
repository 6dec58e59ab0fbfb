"""Where cv_bridge is installed, OpenCV alone gives the same pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from hybridnet_ros.messages import ENCODINGS, compressed_to_rgb, fill_image, image_to_rgb, images
from hybridnet_ros.messages.with_cv_bridge import cv_bridge_is_usable

if not cv_bridge_is_usable():
    pytest.skip("no cv_bridge built for this NumPy is installed", allow_module_level=True)
cv_bridge = pytest.importorskip("cv_bridge")

HEIGHT, WIDTH = 12, 16
RANDOM = np.random.default_rng(11)
# The aliases are left out: cv_bridge does not know them, and they are rows of the same table.
ENCODINGS_OF_CV_BRIDGE = sorted(name for name, encoding in ENCODINGS.items() if encoding.cv_bridge == name)


def random_image(encoding: str) -> Image:
    """An Image of this encoding with random values in packed rows."""
    layout = ENCODINGS[encoding]
    limit = np.iinfo(layout.dtype).max
    pixels = RANDOM.integers(0, limit, (HEIGHT, WIDTH, layout.channels), layout.dtype, endpoint=True)
    msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=pixels.nbytes // HEIGHT)
    msg.data.frombytes(pixels.tobytes())
    return msg


@pytest.mark.parametrize("encoding", ENCODINGS_OF_CV_BRIDGE)
def test_opencv_gives_the_pixels_of_cv_bridge(encoding, monkeypatch):
    layout = ENCODINGS[encoding]
    in_use = images.cv_bridge_converter(encoding, np.dtype(layout.dtype), layout.channels)
    if encoding == "yuv422_yuy2" and in_use is None:
        pytest.skip("this release of cv_bridge does not know yuv422_yuy2")
    assert in_use is not None
    msg = random_image(encoding)
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(msg, "rgb8")
    np.testing.assert_array_equal(image_to_rgb(msg), expected)
    monkeypatch.setattr(images, "cv_bridge_converter", lambda *layout: None)
    np.testing.assert_array_equal(image_to_rgb(msg), expected)


def test_compressed_pixels_are_those_of_cv_bridge():
    bgr = cv2.GaussianBlur(RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (5, 5), 0)
    for extension in ("jpg", "png"):
        msg = cv_bridge.CvBridge().cv2_to_compressed_imgmsg(bgr, extension)
        np.testing.assert_array_equal(
            compressed_to_rgb(msg), cv_bridge.CvBridge().compressed_imgmsg_to_cv2(msg, "rgb8")
        )


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "16UC1", "32FC1"])
def test_filled_images_read_back_equal_with_cv_bridge(encoding):
    dtype = {"16UC1": np.uint16, "32FC1": np.float32}.get(encoding, np.uint8)
    pixels = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3) if encoding == "rgb8" else (HEIGHT, WIDTH)).astype(dtype)
    msg = fill_image(Image(), pixels, encoding)
    np.testing.assert_array_equal(cv_bridge.CvBridge().imgmsg_to_cv2(msg), pixels)
