"""The camera model against what resizing and cropping really do to a picture, and against projection."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridnet_ros.scene.camera import CameraError, CameraModel

KITTI = CameraModel(1242, 375, 721.5377, 721.5377, 609.5593, 172.854)

sizes = st.integers(1, 5000)
focal_lengths = st.floats(1.0, 1e5)
cameras = st.builds(CameraModel, sizes, sizes, focal_lengths, focal_lengths, st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
rays = st.tuples(st.floats(-2, 2), st.floats(-2, 2))


def project(camera: CameraModel, ray: tuple[float, float]) -> np.ndarray:
    u, v, _ = np.reshape(camera.k(), (3, 3)) @ (*ray, 1.0)
    return np.array([u, v])


@given(cameras)
def test_k_and_from_k_are_inverse(camera):
    assert CameraModel.from_k(camera.width, camera.height, camera.k()) == camera


@given(cameras, sizes, sizes, rays)
def test_a_ray_stays_at_the_same_place_between_the_borders(camera, width, height, ray):
    before = (project(camera, ray) + 0.5) / (camera.width, camera.height)
    after = (project(camera.scaled(width, height), ray) + 0.5) / (width, height)
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-6)


@given(cameras, sizes, sizes)
def test_scaling_back_gives_the_first_camera(camera, width, height):
    back = camera.scaled(width, height).scaled(camera.width, camera.height)
    np.testing.assert_allclose(back.k(), camera.k(), rtol=1e-9, atol=1e-6)


@given(cameras, st.integers(0, 1000), st.integers(0, 1000), rays)
def test_a_crop_moves_pixels_by_its_corner(camera, x, y, ray):
    cropped = camera.cropped(x, y, 10, 20)
    assert (cropped.width, cropped.height) == (10, 20)
    np.testing.assert_allclose(project(cropped, ray), project(camera, ray) - (x, y), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("size", [(621, 188), (640, 192), (2000, 500)])
def test_a_resized_picture_shows_the_principal_point_where_the_camera_says(size):
    rows, columns = np.mgrid[: KITTI.height, : KITTI.width]
    spot = np.exp(-((columns - KITTI.cx) ** 2 + (rows - KITTI.cy) ** 2) / (2 * 20**2)).astype(np.float32)
    resized = cv2.resize(spot, size, interpolation=cv2.INTER_LINEAR)
    rows, columns = np.mgrid[: size[1], : size[0]]
    centre = (columns * resized).sum() / resized.sum(), (rows * resized).sum() / resized.sum()
    camera = KITTI.scaled(*size)
    assert centre == pytest.approx((camera.cx, camera.cy), abs=0.02)


def test_an_uncalibrated_camera_info_is_refused_with_the_remedy():
    with pytest.raises(CameraError, match=r"not calibrated: fx is 0\.0\. Calibrate it"):
        CameraModel.from_k(640, 480, [0.0] * 9)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ((640, 480, -500.0, 500.0, 320.0, 240.0), "fx is -500"),
        ((640, 480, 500.0, float("nan"), 320.0, 240.0), "fy is nan"),
        ((640, 480, float("inf"), 500.0, 320.0, 240.0), "fx is inf"),
        ((640, 480, 500.0, 500.0, float("inf"), 240.0), "principal point"),
        ((0, 480, 500.0, 500.0, 320.0, 240.0), "0 x 480 px"),
    ],
)
def test_numbers_no_camera_has_are_refused(numbers, reason):
    with pytest.raises(CameraError, match=reason):
        CameraModel(*numbers)


def test_k_needs_nine_numbers():
    with pytest.raises(CameraError, match="K has 4 numbers"):
        CameraModel.from_k(640, 480, [1.0] * 4)
