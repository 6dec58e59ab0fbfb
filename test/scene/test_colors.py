"""Pictures of depth and labels: the right colour at the right place."""

import numpy as np
import pytest

from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay
from tiny import TINY_LABELS


def luminance(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(float) @ (0.2126, 0.7152, 0.0722)


def test_labels_get_their_colors_and_unlabelled_is_black():
    labels = np.array([[0, 1, 2], [255, 7, 0]], np.uint8)
    colors = colorize_labels(labels, TINY_LABELS.palette())
    assert colors.dtype == np.uint8 and colors.flags.c_contiguous
    np.testing.assert_array_equal(colors, TINY_LABELS.palette()[labels])


def test_nearer_is_brighter():
    depth = np.geomspace(1, 80, 60, dtype=np.float32)[np.newaxis]
    assert (np.diff(luminance(colorize_depth(depth))[0]) < 0).all()


def test_depth_outside_the_scale_looks_like_its_nearest_end():
    colors = colorize_depth(np.array([[0.01, 1.0, 80.0, 1000.0, 0.0, -5.0]], np.float32))[0].tolist()
    assert colors[0] == colors[1] == colors[4] == colors[5]
    assert colors[2] == colors[3] != colors[1]


def test_what_is_no_depth_has_colors_of_its_own():
    special = colorize_depth(np.array([[np.nan, np.inf, -np.inf]], np.float32))[0]
    assert special[0].tolist() == [0, 0, 0]
    assert special[2].tolist() == [255, 255, 255]
    every_depth = {tuple(color) for color in colorize_depth(np.geomspace(1, 80, 2000, dtype=np.float32)[np.newaxis])[0]}
    assert not every_depth & {tuple(color) for color in special}
    assert luminance(special[1]) < 60


def test_the_scale_can_be_chosen():
    depth = np.array([[2.0, 5.0]], np.float32)
    np.testing.assert_array_equal(colorize_depth(depth, 2.0, 5.0), colorize_depth(np.array([[1, 80]], np.float32)))


def test_the_depth_is_not_changed():
    depth = np.array([[0.1, np.nan, np.inf, 200.0]], np.float32)
    kept = depth.copy()
    colorize_depth(depth)
    np.testing.assert_array_equal(depth, kept)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 100), (1.0, 200), (0.5, 150)])
def test_overlay_blends(alpha, expected):
    picture, color = np.full((3, 4, 3), 100, np.uint8), np.full((3, 4, 3), 200, np.uint8)
    assert (overlay(picture, color, alpha) == expected).all()
