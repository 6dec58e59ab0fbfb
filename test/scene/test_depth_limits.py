"""Depth as REP-117 and REP-118 want it: what is out of range, and millimetres."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hybridnet_ros.scene.depth import depth_to_millimetres, limit_depth

INF, NAN = np.inf, np.nan


def test_out_of_range_depth_is_marked_and_nan_stays():
    depth = np.array([0.2, 0.5, 80.0, 80.1, NAN, INF, -INF], np.float32)
    expected = np.array([-INF, 0.5, 80.0, INF, NAN, INF, -INF], np.float32)
    np.testing.assert_array_equal(limit_depth(depth, 0.5, 80.0), expected)


def test_sky_is_beyond_range_whatever_its_depth_but_nan():
    depth = np.array([[5.0, 5.0, NAN], [0.1, 99.0, 7.0]], np.float32)
    labels = np.array([[0, 2, 2], [2, 2, 3]], np.uint8)
    expected = np.array([[5.0, INF, NAN], [INF, INF, INF]], np.float32)
    np.testing.assert_array_equal(limit_depth(depth, 1.0, 80.0, labels, beyond=(2, 3)), expected)


def test_limits_are_applied_in_place():
    depth = np.full((4, 5), 100, np.float32)
    assert limit_depth(depth, 1.0, 80.0) is depth
    assert np.isposinf(depth).all()


@given(arrays(np.float32, array_shapes(max_dims=3), elements=st.floats(width=32)))
def test_what_is_finite_after_limiting_is_in_range_and_unchanged(depth):
    limited = limit_depth(depth.copy(), 1.0, 80.0)
    finite = np.isfinite(limited)
    np.testing.assert_array_equal(finite, (depth >= 1) & (depth <= 80))
    np.testing.assert_array_equal(limited[finite], depth[finite])
    np.testing.assert_array_equal(np.isnan(limited), np.isnan(depth))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from(["all", "part", "none"]), st.booleans())
def test_large_images_are_limited_as_pixel_by_pixel(seed, step, sky, holes):
    """Of several strips, some all in range, of one class, or with holes; and of rows that are not packed."""
    random = np.random.default_rng(seed)
    depth = random.uniform(-1, 100, (700, 900)).astype(np.float32)
    depth[:300] = random.uniform(1, 80, (300, 900))
    if holes:
        depth[random.random(depth.shape) < 0.01] = NAN
    labels = random.integers(0, 9, depth.shape, np.uint8)
    labels[:400] = {"all": 2, "part": labels[:400], "none": 7}[sky]
    depth, labels = depth[::, ::step], labels[::, ::step]
    beyond = np.isin(labels, (2, 8)) & ~np.isnan(depth)
    expected = np.where(beyond | (depth > 80), INF, np.where(depth < 1, -INF, depth))
    np.testing.assert_array_equal(limit_depth(depth, 1.0, 80.0, labels, beyond=(2, 8)), expected)


def test_millimetres_are_rounded_and_zero_where_invalid():
    depth = np.array([1.0, 1.2344, 1.2346, 65.535, 65.536, 1e9, -1.0, NAN, INF, -INF, 0.0], np.float32)
    millimetres = depth_to_millimetres(depth)
    assert millimetres.dtype == np.uint16
    assert millimetres.tolist() == [1000, 1234, 1235, 65535, 0, 0, 0, 0, 0, 0, 0]
