"""Whatever is wrong with a recording is answered with what it is and what to do about it."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hybridnet_ros.offline.evaluation import PARTIAL
from recordings import DEPTH, IMAGE, INFO, LABELS, Recording, picture, true_depth, true_labels, write_drive

ROOT = Path(__file__).resolve().parents[2]


def test_truncated_mcap(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "drive")
    file = bag / "drive.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for path in (bag, file):
        outcome = evaluate_bag(path)
        assert outcome.code == 1
        assert str(path) in outcome.said
        assert "cannot be read: it was cut off before its end" in outcome.said
        assert "mcap recover" in outcome.said


def test_damage_in_the_middle_keeps_what_is_before_it(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "drive", 60, truth=False, compression="storage")
    file = bag / "drive.mcap"
    data = bytearray(file.read_bytes())
    third = len(data) // 3
    data[-third - third // 2 : -third // 2] = np.random.default_rng(0).bytes(third)
    file.write_bytes(data)
    outcome = evaluate_bag(bag)
    assert outcome.code == 1
    assert "is damaged" in outcome.said
    assert outcome.evaluation.status == PARTIAL
    assert 5 < outcome.evaluation.total.frames < 60
    assert any("is damaged" in problem for problem in outcome.evaluation.streams[0].problems)


def test_missing_metadata(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "drive", truth=False)
    (bag / "metadata.yaml").unlink()
    outcome = evaluate_bag(bag)
    assert outcome.code == 1
    assert "no metadata.yaml" in outcome.said
    assert "ros2 bag reindex" in outcome.said
    alone = evaluate_bag(bag / "drive.mcap", output="alone")
    assert alone.code == 0, alone.said


def test_unknown_topic_lists_the_image_topics(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "drive")
    outcome = evaluate_bag(bag, "--topic", "/front/image_raw")
    assert outcome.code == 1
    assert "there is no topic /front/image_raw" in outcome.said
    for topic in (IMAGE, DEPTH, LABELS):
        assert topic in outcome.said
    assert INFO not in outcome.said
    outcome = evaluate_bag(bag, "--topic", INFO)
    assert f"{INFO} holds sensor_msgs/msg/CameraInfo" in outcome.said
    outcome = evaluate_bag(bag)
    assert f"{IMAGE} or {LABELS} may be meant" in outcome.said
    assert "--topic" in outcome.said


@pytest.mark.parametrize("option", ["--depth-topic", "--labels-topic"])
def test_unknown_reference_lists_what_fits(evaluate_bag: Callable[..., Any], tmp_path: Path, option: str) -> None:
    outcome = evaluate_bag(write_drive(tmp_path / "drive"), "--topic", IMAGE, option, INFO)
    assert outcome.code == 1
    assert f"{INFO} is no reference topic" in outcome.said
    assert DEPTH in outcome.said


def test_no_camera_info(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        for n in range(2):
            bag.image(IMAGE, n / 10, picture(n), "rgb8")
            bag.points("/lidar", n / 10, np.ones((3, 3)), "velodyne")
    outcome = evaluate_bag(tmp_path / "drive")
    assert outcome.code == 0, outcome.said
    assert "training focal length" in outcome.evaluation.streams[0].camera
    given = evaluate_bag(tmp_path / "drive", "--fx", 320, output="fx")
    assert "320" in given.evaluation.streams[0].camera
    lidar = evaluate_bag(tmp_path / "drive", "--depth-topic", "/lidar", output="lidar")
    assert lidar.code == 1
    assert "no transform from 'velodyne' to 'camera_optical'" in lidar.said
    extrinsic = tmp_path / "identity.yaml"
    extrinsic.write_text("translation: [0, 0, 0]\nrotation: [0, 0, 0, 1]\n")
    lidar = evaluate_bag(tmp_path / "drive", "--depth-topic", "/lidar", "--extrinsic", extrinsic, output="lidar")
    assert lidar.code == 1
    assert "--camera-info" in lidar.said


def test_reference_of_another_size_and_rate(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        bag.info(INFO, 0.0, fx=160.0)
        for n in range(10):
            bag.image(IMAGE, n / 10, picture(n), "rgb8")
        # Every third of a second, half the size, 20 ms late; and recorded before the images in the file's order.
        for n in range(3):
            bag.image(DEPTH, n / 3 + 0.02, np.ascontiguousarray(true_depth(n)[::2, ::2]), "32FC1")
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE, "--depth-topic", DEPTH, "--tolerance", 0.045)
    assert outcome.code == 0, outcome.said
    # 0.02 fits 0.0, 0.353 fits none but 0.4 (47 ms away: no) and 0.3 (53 ms: no), 0.687 fits 0.7.
    assert [frame.number for frame in outcome.evaluation.frames if frame.depth] == [0, 7]
    matches = outcome.evaluation.total.depth_matches
    assert (matches.matched, matches.unmatched) == (2, 8)
    assert outcome.evaluation.total.depth.pixels + outcome.evaluation.total.depth.missing <= 2 * 96 * 64


def test_reference_that_shows_something_else(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        bag.info(INFO, 0.0, fx=160.0)
        bag.image(IMAGE, 0.0, picture(0), "rgb8")
        bag.image(DEPTH, 0.0, true_depth(0, 100, 100), "32FC1")
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE, "--depth-topic", DEPTH)
    assert outcome.evaluation.total.depth is None
    assert outcome.evaluation.total.depth_matches.unmatched == 1
    assert "100x100 and the image 192x128" in outcome.evaluation.streams[0].problems[0]


def test_depth_of_another_frame_is_doubted(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        for n in range(2):
            bag.info(INFO, n / 10, fx=160.0)
            bag.image(IMAGE, n / 10, picture(n), "rgb8")
            bag.image(DEPTH, n / 10, true_depth(n), "32FC1", frame="infra1_optical")
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE, "--depth-topic", DEPTH)
    assert outcome.code == 0 and outcome.evaluation.total.depth.pixels
    (problem,) = outcome.evaluation.streams[0].problems
    assert "its frame is infra1_optical" in problem and "registered to the image (2 times)" in problem


def test_options_that_would_do_nothing_are_refused(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag, extrinsic = write_drive(tmp_path / "drive", 1), tmp_path / "extrinsic.yaml"
    extrinsic.write_text("translation: [0, 0, 0]\nrotation: [0, 0, 0, 1]\n")
    for words, reason in (
        (["--depth-scale", 256, "--depth-topic", DEPTH], "--depth-scale is of no use without --depth-folder"),
        (["--extrinsic", extrinsic], "--extrinsic is of no use without --depth-topic"),
        (["--classes", "camvid11"], "--classes is of no use without --labels-topic or --labels-folder"),
        (["--topic", IMAGE, "--depth-topic", DEPTH, "--extrinsic", extrinsic], "--extrinsic is for clouds"),
    ):
        outcome = evaluate_bag(bag, *words)
        assert outcome.code == 1 and reason in outcome.said


def test_label_values_that_are_no_ids_are_refused(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        bag.info(INFO, 0.0, fx=160.0)
        bag.image(IMAGE, 0.0, picture(0), "rgb8")
        bag.image(LABELS, 0.0, true_labels(0) + np.uint8(1), "mono8")  # from 1 on, as many datasets count
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE, "--labels-topic", LABELS)
    assert outcome.evaluation.total.segmentation is None
    (problem,) = outcome.evaluation.streams[0].problems
    assert "there is the value 3: the classes tiny3 are 0 to 2 in the order of their names, 255 is none" in problem


def test_topic_that_changes_type_encoding_and_size(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        bag.info(INFO, 0.0, fx=160.0)
        bag.image(IMAGE, 0.0, picture(0), "rgb8")
        bag.image(IMAGE, 0.1, np.ascontiguousarray(picture(1)[..., 0]), "mono8")
        bag.compressed(IMAGE, 0.2, picture(2), ".png", "rgb8; png compressed bgr8")
        bag.image(IMAGE, 0.3, picture(3, 96, 64), "rgb8")
        bag.image(IMAGE, 0.4, true_depth(4), "32FC1")
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE)
    assert outcome.code == 0, outcome.said
    stream = outcome.evaluation.streams[0]
    assert stream.type == "sensor_msgs/msg/Image and sensor_msgs/msg/CompressedImage"
    assert [frame.width for frame in outcome.evaluation.frames] == [192, 192, 192, 96]
    assert stream.figures.failed == 1
    assert "32FC1" in stream.problems[0]

    with Recording(tmp_path / "other") as bag:
        bag.image(IMAGE, 0.0, picture(0), "rgb8")
        bag.points(IMAGE, 0.1, np.ones((3, 3)), "velodyne")
    outcome = evaluate_bag(tmp_path / "other", "--topic", IMAGE, output="two")
    assert outcome.code == 1
    assert "holds sensor_msgs/msg/Image and sensor_msgs/msg/PointCloud2" in outcome.said


def test_images_that_cannot_be_decoded_are_counted(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for n in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{n}.jpg"), picture(n))
    (tmp_path / "images" / "1.jpg").write_bytes(b"no picture")
    outcome = evaluate_bag(tmp_path / "images")
    assert outcome.code == 0, outcome.said
    assert (outcome.evaluation.total.frames, outcome.evaluation.total.failed) == (2, 1)
    assert [frame.number for frame in outcome.evaluation.frames] == [0, 2]
    assert "1.jpg is no picture" in outcome.evaluation.streams[0].problems[0]


def test_nothing_to_evaluate(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "neither a bag" in evaluate_bag(tmp_path / "empty").said
    assert "there is no bag at" in evaluate_bag(tmp_path / "nowhere").said
    (tmp_path / "notes.txt").write_text("no recording")
    assert "is no recording" in evaluate_bag(tmp_path / "notes.txt").said
    (tmp_path / "drive.mp4").write_text("no video")
    assert "cannot be read as a video" in evaluate_bag(tmp_path / "drive.mp4").said
    bag = write_drive(tmp_path / "drive", 2)
    assert "does not exist" in evaluate_bag(bag, "--topic", IMAGE, "--depth-folder", tmp_path / "none").said
    assert "no label set is called" in evaluate_bag(bag, "--labels-topic", LABELS, "--classes", "camvid").said
    assert "--min-depth" in evaluate_bag(bag, "--min-depth", 90).said


def test_full_disk_keeps_what_is_done(tiny_engine: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writing fails with an OSError in the same places."""
    bag = write_drive(tmp_path / "drive", 40, rate_hz=2.0, truth=False)
    command = [sys.executable, "-m", "hybridnet_ros.cli", "evaluate-bag", str(bag), "--engine", str(tiny_engine)]
    command += ["--output", str(tmp_path / "out"), "--workers", "1", "--points"]

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        limits = (limit, limit)
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=600,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )  # fmt: skip

    stopped = run(4_000_000)
    assert stopped.returncode == 1
    assert "File too large" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not list((tmp_path / "out" / "predictions").rglob("*.mcap")), "what is cut off is removed"
    finished = run(resource.RLIM_INFINITY)
    assert finished.returncode == 0, finished.stderr
    shutil.rmtree(tmp_path / "out")
