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


def test_millimetres_are_rounded_and_zero_where_invalid():
    depth = np.array([1.0, 1.2344, 1.2346, 65.535, 65.536, 1e9, -1.0, NAN, INF, -INF, 0.0], np.float32)
    millimetres = depth_to_millimetres(depth)
    assert millimetres.dtype == np.uint16
    assert millimetres.tolist() == [1000, 1234, 1235, 65535, 0, 0, 0, 0, 0, 0, 0]
