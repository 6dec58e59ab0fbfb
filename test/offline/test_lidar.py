"""LiDAR clouds become depth through the lens that CameraInfo describes and the transforms that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridnet_ros.messages import MessageError
from hybridnet_ros.offline.bag import BagError, open_bag
from hybridnet_ros.offline.lidar import lens, project
from hybridnet_ros.offline.transforms import Joint, Movement, recorded_chain
from hybridnet_ros.scene.camera import CameraError
from recordings import DEPTH, FRAME, HEIGHT, IMAGE, INFO, WIDTH, Recording, picture

STRAIGHT = np.eye(3, 4)
FX, CX, CY = 160.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2


class Info:
    """A CameraInfo of the images of these tests."""

    def __init__(self, model: str = "", distortion: tuple[float, ...] = (), **other: Any) -> None:
        self.width, self.height = WIDTH, HEIGHT
        self.k = np.array([FX, 0, CX, 0, FX, CY, 0, 0, 1])
        self.p, self.r = np.insert(self.k.reshape(3, 3), 3, 0.0, axis=1).ravel(), np.eye(3).ravel()
        self.distortion_model, self.d = model, np.array(distortion)
        self.binning_x = self.binning_y = 0
        self.roi = Region()
        self.__dict__.update(other)


class Region:
    """A region of interest; none."""

    def __init__(self, **_: Any) -> None:
        self.x_offset = self.y_offset = self.width = self.height = 0


def plumb_bob(x: float, y: float, d: tuple[float, ...]) -> tuple[float, float]:
    """The formulas of Brown, as written in the documentation of CameraInfo and OpenCV."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, *[0.0] * 8)[:8]
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def equidistant(x: float, y: float, d: tuple[float, ...]) -> tuple[float, float]:
    """The formulas of Kannala and Brandt."""
    r = math.hypot(x, y)
    theta = math.atan(r)
    bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d)))
    return (x * bent / r, y * bent / r) if r else (x, y)


LENSES = [
    ("plumb_bob", (-0.32, 0.12, 0.0007, -0.0004, -0.02), plumb_bob),
    ("plumb_bob", (0.08, -0.2, 0.001, 0.002), plumb_bob),
    ("rational_polynomial", (0.9, 0.3, 0.0003, -0.0005, 0.01, 1.3, 0.5, 0.05), plumb_bob),
    ("equidistant", (0.03, -0.01, 0.004, -0.001), equidistant),
]


@pytest.mark.parametrize(("model", "distortion", "formula"), LENSES)
def test_points_are_where_the_formulas_of_the_lens_put_them(model: str, distortion: Any, formula: Any) -> None:
    for x, y, z in [(0, 0, 5), (1, 0.5, 4), (-2, 1, 5), (1.1, -0.8, 3), (-1.5, -1.2, 4.2)]:
        depth = project(np.array([[x, y, z]], float), STRAIGHT, lens(Info(model, distortion), WIDTH, HEIGHT, False))
        u, v = formula(x / z, y / z, distortion)
        column, row = round(u * FX + CX), round(v * FX + CY)
        assert [each.tolist() for each in np.nonzero(np.isfinite(depth))] == [[row], [column]], (x, y, z)
        assert depth[row, column] == np.float32(z)


@pytest.mark.parametrize(("model", "distortion", "formula"), LENSES)
def test_what_is_beyond_the_reach_of_the_lens_does_not_come_back_into_the_image(
    model: str, distortion: Any, formula: Any
) -> None:
    """Far out a polynomial turns back: the same formulas then put a point at the side into the middle of the image."""
    camera = lens(Info(model, distortion), WIDTH, HEIGHT, False)
    radius = np.linspace(0.0, 40.0, 801)
    along = np.array([formula(r, 0.0, distortion)[0] for r in radius])
    turns = np.nonzero(np.diff(along) <= 0)[0]
    last = radius[turns[0]] if len(turns) else math.inf
    assert camera.reach == pytest.approx(last, abs=0.3) or math.isinf(last)
    for r, u in zip(radius, along, strict=True):
        seen = np.isfinite(project(np.array([[r, 0.0, 1.0]]), STRAIGHT, camera)).any()
        inside = -0.49 <= u * FX + CX <= WIDTH - 0.51
        assert seen == (inside and r < camera.reach), r


def test_a_lens_that_wraps_far_points_in_is_really_among_those_tried() -> None:
    model, distortion, formula = LENSES[0]
    wrapped = [r for r in np.linspace(2, 40, 2000) if 0 <= formula(r, 0.0, distortion)[0] * FX + CX < WIDTH]
    assert wrapped
    camera = lens(Info(model, distortion), WIDTH, HEIGHT, False)
    assert not np.isfinite(project(np.array([[r, 0.0, 1.0] for r in wrapped]), STRAIGHT, camera)).any()


def test_a_rectified_image_has_p_and_r_and_no_distortion() -> None:
    p = np.array([120.0, 0, 90, 0, 0, 130, 60, 0, 0, 0, 1, 0])
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    info = Info("plumb_bob", LENSES[0][1], p=p, r=turn.ravel())
    depth = project(np.array([[0.5, 0.25, 2.0]]), STRAIGHT, lens(info, WIDTH, HEIGHT, True))
    x, y, z = turn @ [0.5, 0.25, 2.0]
    assert depth[round(y / z * 130 + 60), round(x / z * 120 + 90)] == 2.0
    raw = project(np.array([[0.5, 0.25, 2.0]]), STRAIGHT, lens(info, WIDTH, HEIGHT, False))
    assert np.nonzero(np.isfinite(raw)) != np.nonzero(np.isfinite(depth))


def test_the_image_may_be_smaller_than_the_sensor() -> None:
    half = lens(Info("plumb_bob", LENSES[0][1]), WIDTH // 2, HEIGHT // 2, False)
    depth = project(np.array([[1.0, 0.5, 4.0]]), STRAIGHT, half)
    u, v = plumb_bob(0.25, 0.125, LENSES[0][1])
    assert depth[round((v * FX + CY) / 2), round((u * FX + CX) / 2)] == 4.0


def test_a_camera_that_is_not_calibrated_is_refused() -> None:
    for rectified in (False, True):
        with pytest.raises(CameraError, match="not calibrated"):
            lens(Info(k=np.zeros(9), p=np.zeros(12)), WIDTH, HEIGHT, rectified)


def test_an_unknown_lens_is_refused() -> None:
    with pytest.raises(MessageError, match=r"distortion model 'thin_prism' with 5 coefficients is not known"):
        lens(Info("thin_prism", (1.0, 0, 0, 0, 0)), WIDTH, HEIGHT, False)
    with pytest.raises(MessageError, match="with 3 coefficients"):
        lens(Info("plumb_bob", (1.0, 0, 0)), WIDTH, HEIGHT, False)


@pytest.mark.parametrize("given", ["recorded", "file"])
def test_lidar_is_projected_through_camera_info_and_extrinsic(
    evaluate_bag: Callable[..., Any], tmp_path: Path, given: str
) -> None:
    # A LiDAR as robots have it: x forward, y left, z up, half a metre above the camera.
    half = 0.5
    columns, rows = np.meshgrid(np.arange(5, WIDTH, 11), np.arange(40, HEIGHT, 9))
    z = 6.0 + 0.25 * columns
    x, y = (columns - (WIDTH - 1) / 2) / 160.0 * z, (rows - (HEIGHT - 1) / 2) / 160.0 * z
    points = np.stack([z, -x, -y - half], axis=-1).reshape(-1, 3)
    behind = np.concatenate([points * 1.5 + [0, 0, half * 0.5], [[-5, 0, 0], [np.nan, 0, 0]]])
    sparse = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    sparse[rows, columns] = z
    for name, cloud in (("lidar", True), ("image", False)):
        with Recording(tmp_path / name) as bag:
            if given == "recorded":
                bag.static_transform("base", FRAME, (1.0, 0.0, 1.0), (-0.5, 0.5, -0.5, 0.5))
                bag.static_transform("base", "velodyne", (1.0, 0.0, 1.0 + half), (0.0, 0.0, 0.0, 1.0))
            bag.info(INFO, 0.0, fx=160.0)
            bag.image(IMAGE, 0.0, picture(0), "rgb8")
            if cloud:
                bag.points("/velodyne_points", 0.02, np.concatenate([points, behind]), "velodyne")
            else:
                bag.image(DEPTH, 0.0, sparse, "32FC1")
    extrinsic = tmp_path / "extrinsic.yaml"
    extrinsic.write_text("translation: [0, -0.5, 0]\nrotation: [0.5, -0.5, 0.5, 0.5]\n")
    words = ["--extrinsic", extrinsic] if given == "file" else []
    lidar = evaluate_bag(tmp_path / "lidar", "--depth-topic", "/velodyne_points", *words, output="one")
    assert lidar.code == 0, lidar.said
    image = evaluate_bag(tmp_path / "image", "--depth-topic", DEPTH, output="two")
    got, expected = lidar.evaluation.total.depth, image.evaluation.total.depth
    assert got.pixels >= expected.pixels == sparse.size - np.isnan(sparse).sum() - expected.missing
    assert got.abs_rel == pytest.approx(expected.abs_rel, rel=0.5)
    if given == "recorded":
        again = evaluate_bag(tmp_path / "lidar", "--depth-topic", "/velodyne_points", "--extrinsic", extrinsic,
                             output="three")  # fmt: skip
        assert vars(again.evaluation.total.depth) == pytest.approx(vars(got), rel=1e-6)


def test_a_moving_joint_is_interpolated_at_each_stamp() -> None:
    movement = Movement(Joint("mast", "lidar"), tolerance_ns=50_000_000)
    for step in range(3):
        angle = math.radians(30 * step)
        movement.add(step * 100_000_000, (step, 0, 0), (0, 0, math.sin(angle / 2), math.cos(angle / 2)))
    for stamp_ns, angle, x in [(0, 0, 0), (50_000_000, 15, 0.5), (125_000_000, 37.5, 1.25), (230_000_000, 60, 2)]:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        expected = [[c, -s, 0, x], [s, c, 0, 0], [0, 0, 1, 0]]
        np.testing.assert_allclose(movement.at(stamp_ns), expected, atol=1e-12)
    for stamp_ns in (-60_000_000, 260_000_000):
        with pytest.raises(MessageError, match="'lidar' to 'mast' is not recorded on /tf"):
            movement.at(stamp_ns)


def test_the_shorter_way_round_is_taken() -> None:
    movement = Movement(Joint("mast", "lidar"), 0)
    movement.add(0, (0, 0, 0), (0, 0, 0, 1))
    angle = math.radians(20)
    movement.add(100, (0, 0, 0), (0, 0, -math.sin(angle / 2), -math.cos(angle / 2)))  # the other sign, same rotation
    assert math.degrees(math.atan2(*movement.at(50)[1::-1, 0])) == pytest.approx(10)


def test_a_camera_on_a_moving_head_sees_the_lidar_from_where_it_was(
    evaluate_bag: Callable[..., Any], tmp_path: Path
) -> None:
    """The head pans by 10 degrees a second, the LiDAR is on a lift that goes up; what is seen is worked out here."""
    optical = (-0.5, 0.5, -0.5, 0.5)
    points = np.array([[x, y, z] for x in (6.0, 8.0) for y in np.arange(-1.91, 2.1, 0.5) for z in (-0.4, 0.1)])

    def pan(stamp: float) -> float:
        return math.radians(10 * stamp)

    stamps = [0.0, 0.5, 1.0]
    for name in ("cloud", "image"):
        with Recording(tmp_path / name) as bag:
            bag.static_transform("head", FRAME, (0.1, 0.0, 0.0), optical)
            for tick in range(26):  # 20 times a second, but not at the stamps of the images and clouds
                stamp = tick / 20 - 0.07
                half = pan(stamp) / 2
                bag.transform(stamp, "base", "head", (0.0, 0.0, 0.5), (0.0, 0.0, math.sin(half), math.cos(half)))
                bag.transform(stamp, "base", "lidar", (-0.3, 0.0, 0.8 + 0.4 * stamp), (0.0, 0.0, 0.0, 1.0))
            for number, stamp in enumerate(stamps):
                bag.info(INFO, stamp, fx=FX)
                bag.image(IMAGE, stamp, picture(number), "rgb8")
                if name == "cloud":
                    bag.points("/points", stamp + 0.03, points, "lidar")
                    continue
                depth = np.full((HEIGHT, WIDTH), np.nan, np.float32)
                for x, y, z in points + [-0.3, 0.0, 0.8 + 0.4 * (stamp + 0.03)] - [0.0, 0.0, 0.5]:
                    c, s = math.cos(pan(stamp)), math.sin(pan(stamp))
                    ahead, left = c * x + s * y - 0.1, -s * x + c * y
                    row, column = round(-z / ahead * FX + CY), round(-left / ahead * FX + CX)
                    if 0 <= row < HEIGHT and 0 <= column < WIDTH:
                        depth[row, column] = np.fmin(depth[row, column], np.float32(ahead))
                bag.image(DEPTH, stamp, depth, "32FC1")
    cloud = evaluate_bag(tmp_path / "cloud", "--depth-topic", "/points", output="one")
    assert cloud.code == 0, cloud.said
    image = evaluate_bag(tmp_path / "image", "--depth-topic", DEPTH, output="two")
    assert cloud.evaluation.total.depth_matches.matched == 3
    assert "moving: lidar in base, head in base" in cloud.evaluation.streams[0].depth_reference
    for got, expected in zip(cloud.evaluation.frames, image.evaluation.frames, strict=True):
        assert got.depth.pixels + got.depth.missing == expected.depth.pixels + expected.depth.missing > 20
        assert vars(got.depth) == pytest.approx(vars(expected.depth), rel=1e-5)


def test_frames_that_are_not_connected_are_named(tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        bag.static_transform("base", "lidar", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        bag.transform(0.0, "odom", "base", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    with open_bag(tmp_path / "drive") as opened:
        assert [step.joint for step in recorded_chain(opened, "/lidar", "odom").steps] == [
            ("base", "lidar"), ("odom", "base"),
        ]  # fmt: skip
        assert recorded_chain(opened, "lidar", "base").moving == ()
        with pytest.raises(
            BagError, match=r"'lidar' to 'camera' .* /tf_static or /tf \(frames there: base, lidar, odom\)"
        ):
            recorded_chain(opened, "lidar", "camera")
