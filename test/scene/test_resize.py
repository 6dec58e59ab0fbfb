"""Resizing there and back: no shift, no mixing of labels, no pixel skipped."""

import numpy as np
import pytest

from hybridnet_ros.scene.resize import resize_depth, resize_images, resize_labels


def ramp(width: int, height: int) -> np.ndarray:
    """float32 [1, height, width]: the position of each pixel's centre from the left border, 0 to 1."""
    return np.broadcast_to((np.arange(width, dtype=np.float32) + 0.5) / width, (1, height, width)).copy()


@pytest.mark.parametrize("size", [(640, 192), (100, 40), (310, 94), (2484, 750), (1242, 192)])
def test_nothing_moves(size):
    images = np.repeat((ramp(1242, 375) * 255)[..., np.newaxis], 3, 3).round().astype(np.uint8)
    resized = resize_images(images, *size)
    assert resized.shape == (1, size[1], size[0], 3)
    assert np.abs(resized[..., 0] / 255 - ramp(*size)).max() < 0.008
    # At the very border there is nothing to interpolate with.
    assert np.abs(resize_depth(ramp(1242, 375), *size) - ramp(*size))[..., 4:-4].max() < 1e-3
    halves = (ramp(1242, 375) > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(resize_labels(halves, *size), ramp(*size) > 0.5)


def test_labels_are_never_mixed():
    labels = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), (2, 31, 17))
    assert set(np.unique(resize_labels(labels, 100, 70))) == {0, 7, 255}


def test_strong_shrinking_averages_every_pixel():
    stripes = np.zeros((1, 720, 1280, 3), np.uint8)
    stripes[:, :, ::8] = 255  # one bright column in eight: skipping pixels would find some of them and miss others
    shrunk = resize_images(stripes, 160, 90)
    assert shrunk.min() >= 31 and shrunk.max() <= 33


def test_images_of_the_right_size_are_passed_on_and_strided_ones_made_contiguous():
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 12, 3), np.uint8)
    assert resize_images(images, 12, 8) is images
    reversed_channels = images[..., ::-1]
    passed = resize_images(reversed_channels, 12, 8)
    assert passed.flags.c_contiguous
    np.testing.assert_array_equal(passed, reversed_channels)


def test_a_batch_is_resized_image_by_image():
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), np.uint8)
    np.testing.assert_array_equal(
        resize_images(images, 32, 16), np.concatenate([resize_images(image[None], 32, 16) for image in images])
    )
