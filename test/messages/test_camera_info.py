"""Intrinsics follow the image through resize, binning and region of interest, as the nodes of image_pipeline expect."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from hybridnet_ros.messages import MessageError, camera_model, fill_camera_info, is_rectified
from hybridnet_ros.scene.camera import CameraError, CameraModel

K = [700.0, 0.0, 630.0, 0.0, 710.0, 180.0, 0.0, 0.0, 1.0]
P = [650.0, 0.0, 600.0, -340.0, 0.0, 660.0, 170.0, 2.0, 0.0, 0.0, 1.0, 0.0]
R = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
D = [-0.1, 0.02, 0.001, 0.0, 0.3]
CAMERA = {"width": 1242, "height": 376, "k": K, "p": P, "r": R, "d": D, "distortion_model": "plumb_bob"}


def filled(library, width, height, **fields) -> CameraInfo:
    """The published CameraInfo of an output of this size, at the other end of the wire."""
    info = library.camera_info(**{**CAMERA, **fields})
    return library.send(fill_camera_info(library.blank("CameraInfo"), info, library.header(), width, height))


def test_the_camera_of_an_image_at_its_own_size(library):
    info = library.camera_info(**CAMERA)
    assert camera_model(info, 1242, 376) == CameraModel(1242, 376, 700.0, 710.0, 630.0, 180.0)


def test_the_camera_of_a_resized_image(library):
    info = library.camera_info(**CAMERA)
    assert camera_model(info, 621, 94) == CameraModel(621, 94, 350.0, 177.5, 315.0, 45.0)


def test_the_camera_of_a_rectified_image_is_that_of_p(library):
    p = [500.0, 0.0, 600.0, -50.0, 0.0, 510.0, 170.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info = library.camera_info(**{**CAMERA, "p": p})
    assert camera_model(info, 1242, 376, rectified=True) == CameraModel(1242, 376, 500.0, 510.0, 600.0, 170.0)
    assert camera_model(info, 621, 188, rectified=True) == CameraModel(621, 188, 250.0, 255.0, 300.0, 85.0)
    without = library.camera_info(**{**CAMERA, "p": [0.0] * 12})
    assert camera_model(without, 1242, 376, rectified=True) == camera_model(info, 1242, 376)


def test_rectified_images_are_known_by_image_procs_names():
    for topic in ("/left/image_rect", "/left/image_rect_color", "image_rect", "/left/image_rect/compressed"):
        assert is_rectified(topic)
    for topic in ("/left/image_raw", "/direct/image_raw", "/image_rect/image", "/left/image"):
        assert not is_rectified(topic)


def test_the_camera_of_a_binned_image(library):
    info = library.camera_info(**{**CAMERA, "height": 375}, binning_x=2, binning_y=2)
    assert camera_model(info, 621, 187) == CameraModel(621, 187, 350.0, 355.0, 315.0, 90.0)


def test_the_camera_of_a_region_of_interest(library):
    roi = RegionOfInterest(x_offset=200, y_offset=100, width=800, height=200)
    info = library.camera_info(**CAMERA, roi=roi)
    assert camera_model(info, 800, 200) == CameraModel(800, 200, 700.0, 710.0, 430.0, 80.0)
    assert camera_model(info, 400, 50) == CameraModel(400, 50, 350.0, 177.5, 215.0, 20.0)


def test_the_camera_of_a_binned_region_of_interest(library):
    roi = RegionOfInterest(x_offset=200, y_offset=100, width=801, height=201)
    info = library.camera_info(**CAMERA, roi=roi, binning_x=2, binning_y=2)
    assert camera_model(info, 400, 100) == CameraModel(400, 100, 350.0, 355.0, 215.0, 40.0)


def test_binning_and_region_do_not_matter_where_the_image_has_the_full_size(library):
    roi = RegionOfInterest(x_offset=200, y_offset=100, width=800, height=200)
    info = library.camera_info(**CAMERA, roi=roi, binning_x=2, binning_y=2)
    assert camera_model(info, 1242, 376).cx == 630.0


def test_a_camera_info_without_size_is_taken_as_it_is(library):
    info = library.camera_info(**{**CAMERA, "width": 0, "height": 0})
    assert camera_model(info, 640, 480) == CameraModel(640, 480, 700.0, 710.0, 630.0, 180.0)


def test_an_uncalibrated_camera_is_refused_with_the_remedy(library):
    with pytest.raises(CameraError, match="not calibrated"):
        camera_model(library.camera_info(width=640, height=480), 640, 480)
    with pytest.raises(CameraError, match="not calibrated"):
        camera_model(library.camera_info(**{**CAMERA, "k": [float("nan")] * 9}), 1242, 376)


def test_an_empty_image_has_no_camera(library):
    with pytest.raises(MessageError, match="empty: 0x376"):
        camera_model(library.camera_info(**CAMERA), 0, 376)


def test_at_the_input_size_everything_is_passed_on_unchanged(library):
    msg = filled(library, 1242, 376)
    expected = CameraInfo(**CAMERA)
    expected.header = msg.header
    sent_again, wanted = (deserialize_message(serialize_message(each), CameraInfo) for each in (msg, expected))
    assert sent_again == wanted
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1317384507, 906123456)
    assert msg.header.frame_id == "front_optical"


def test_at_another_size_k_and_p_are_scaled_as_the_resize_node_does(library):
    msg = filled(library, 621, 94)
    assert (msg.width, msg.height) == (621, 94)
    assert list(msg.k) == [350.0, 0.0, 315.0, 0.0, 177.5, 45.0, 0.0, 0.0, 1.0]
    assert list(msg.p) == [325.0, 0.0, 300.0, -170.0, 0.0, 165.0, 42.5, 0.5, 0.0, 0.0, 1.0, 0.0]
    assert list(msg.r) == R
    assert list(msg.d) == D
    assert msg.distortion_model == "plumb_bob"


def test_binning_and_region_of_interest_are_cleared_once_k_and_p_hold_them(library):
    roi = RegionOfInterest(x_offset=200, y_offset=100, width=800, height=200, do_rectify=True)
    msg = filled(library, 400, 100, roi=roi, binning_x=2, binning_y=2)
    assert (msg.binning_x, msg.binning_y) == (0, 0)
    assert msg.roi == RegionOfInterest()
    assert list(msg.k) == [350.0, 0.0, 215.0, 0.0, 355.0, 40.0, 0.0, 0.0, 1.0]
    assert list(msg.p) == [325.0, 0.0, 200.0, -170.0, 0.0, 330.0, 35.0, 1.0, 0.0, 0.0, 1.0, 0.0]


def test_published_camera_info_and_camera_model_agree(library):
    roi = RegionOfInterest(x_offset=200, y_offset=100, width=801, height=201)
    info = library.camera_info(**CAMERA, roi=roi, binning_x=2, binning_y=2)
    msg = fill_camera_info(library.blank("CameraInfo"), info, library.header(), 300, 90)
    np.testing.assert_allclose(camera_model(info, 300, 90).k(), msg.k)
    assert camera_model(msg, 300, 90) == camera_model(info, 300, 90)


def test_a_projection_of_zeros_is_made_from_k(library):
    # depth_image_proc reads P and would divide by its focal length.
    msg = filled(library, 1242, 376, p=[0.0] * 12)
    assert list(msg.p) == [700.0, 0.0, 630.0, 0.0, 0.0, 710.0, 180.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_an_uncalibrated_camera_info_is_passed_on_with_its_zeros(library):
    msg = library.send(
        fill_camera_info(library.blank("CameraInfo"), library.camera_info(width=8, height=6), library.header(), 4, 3)
    )
    assert (msg.width, msg.height) == (4, 3)
    assert not any(msg.k)
    assert not any(msg.p)


def test_the_source_is_not_changed(library):
    info = library.camera_info(**CAMERA)
    fill_camera_info(library.blank("CameraInfo"), info, library.header(), 621, 94)
    assert list(info.k) == K
    assert list(info.p) == P
