"""The figures of evaluate-bag are those that other code computes from the same files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader

from hybridnet_ros.engine import open_engine
from hybridnet_ros.offline.bag import typestore
from hybridnet_ros.offline.figures import DepthFigures
from hybridnet_ros.resources import share_path
from recordings import (
    DEPTH,
    FRAME,
    HEIGHT,
    IMAGE,
    LABELS,
    START_NS,
    WIDTH,
    picture,
    true_depth,
    true_labels,
    write_drive,
)
from tiny import TINY_LABELS

BANDS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def independent_prediction(engine: Any, rgb: np.ndarray, fx: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth as published (0.1 to 80 m, sky out of range), labels and confidence."""
    seen = engine.predict(rgb[None], fx)
    depth, labels = seen.depth[0].astype(np.float64), seen.labels[0]
    depth[(depth > 80) | (labels == TINY_LABELS.index("sky"))] = np.inf
    depth[depth < 0.1] = -np.inf
    return depth, labels, seen.confidence[0]


def independent_depth_figures(predicted: list[np.ndarray], truth: list[np.ndarray]) -> dict[str, float]:
    """The paper's measures over all pixels, from their definitions; pixels as flat arrays."""
    y_, y = np.concatenate(predicted), np.concatenate(truth).astype(np.float64)
    missing = int(np.sum(np.isnan(y_)))
    y_, y = np.clip(y_[~np.isnan(y_)], 1e-3, 80), y[~np.isnan(y_)]
    d = np.log(y_) - np.log(y)
    ratio = np.maximum(y_ / y, y / y_)
    return {
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
        "abs_rel": np.mean(abs(y_ - y) / y),
        "sq_rel": np.mean((y_ - y) ** 2 / y),
        "rmse": math.sqrt(np.mean((y_ - y) ** 2)),
        "rmse_log": math.sqrt(np.mean(d**2)),
        "si_log": math.sqrt(np.mean(d**2) - np.mean(d) ** 2),
        "si_var": np.mean(d**2) - np.mean(d) ** 2,
        "scale": np.exp(np.mean(d)),
        "pixels": len(y),
        "missing": missing,
    }


def assert_same(figures: DepthFigures | None, expected: dict[str, float], rel: float = 1e-9) -> None:
    assert figures is not None
    assert vars(figures) == pytest.approx(expected, rel=rel)


def test_demo_bag_agrees_with_the_files(evaluate_bag: Callable[..., Any], tiny_engine: Path) -> None:
    bag = share_path("demo", "kitti_sequence")
    lidar = "/lidar/depth/compressed"
    outcome = evaluate_bag(bag, "--depth-topic", lidar, "--no-bag")
    assert outcome.code == 0, outcome.said

    images, truths, fx = {}, {}, 0.0
    with AnyReader([bag]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic == lidar:
                truths[stamp_ns] = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED) / 1000.0
            elif connection.topic == "/camera/camera_info":
                fx = float(message.k[0])
            else:
                images[stamp_ns] = cv2.imdecode(message.data, cv2.IMREAD_COLOR)[..., ::-1]
    predicted, true = [], []
    with open_engine(tiny_engine, "onnx_cpu", threads=1) as engine:
        for stamp_ns, rgb in images.items():
            depth, _, _ = independent_prediction(engine, np.ascontiguousarray(rgb), fx)
            valid = (truths[stamp_ns] > 0) & (truths[stamp_ns] <= 80)
            predicted.append(depth[valid])
            true.append(truths[stamp_ns][valid])
    total = outcome.evaluation.total
    assert total.frames == len(images) == 40
    # Millimetres are metres in float32 there and in float64 here.
    assert_same(total.depth, independent_depth_figures(predicted, true), rel=1e-6)
    each = [independent_depth_figures([p], [t]) for p, t in zip(predicted, true, strict=True)]
    assert total.depth_per_image.abs_rel == pytest.approx(np.mean([one["abs_rel"] for one in each]), rel=1e-6)
    assert [frame.depth.abs_rel for frame in outcome.evaluation.frames] == pytest.approx(
        [one["abs_rel"] for one in each], rel=1e-6
    )


def test_dense_truth_agrees_in_every_figure(
    evaluate_bag: Callable[..., Any], tiny_engine: Path, tmp_path: Path
) -> None:
    count = 6
    bag = write_drive(tmp_path / "drive", count)
    outcome = evaluate_bag(bag, "--depth-topic", DEPTH, "--labels-topic", LABELS)
    assert outcome.code == 0, outcome.said
    total = outcome.evaluation.total

    with open_engine(tiny_engine, "onnx_cpu", threads=1) as engine:
        seen = [independent_prediction(engine, picture(n), fx=160.0) for n in range(count)]
    depth, labels, confidence = (np.stack(each) for each in zip(*seen, strict=True))
    truth = np.stack([true_depth(n) for n in range(count)])
    true = np.stack([true_labels(n) for n in range(count)])
    valid = np.isfinite(truth) & (truth <= 80)

    assert total.confidence == pytest.approx(confidence.mean() / 255)
    assert total.finite_depth == pytest.approx(np.isfinite(depth).mean())
    assert_same(total.depth, independent_depth_figures([depth[valid]], [truth[valid]]))
    for near, far, band in zip(BANDS[:-1], BANDS[1:], total.bands, strict=True):
        inside = valid & (truth > near) & (truth <= far)
        assert (band.near, band.far) == (near, far)
        if np.isfinite(depth[inside]).any():
            assert_same(band.depth, independent_depth_figures([depth[inside]], [truth[inside]]))
    for number, each in enumerate(total.classes):
        own = labels == number
        assert each.share == pytest.approx(own.mean())
        assert each.confidence == pytest.approx(confidence[own].mean() / 255)
        if np.isfinite(depth[valid & own]).any():
            assert_same(each.depth, independent_depth_figures([depth[valid & own]], [truth[valid & own]]))

    confusion = [[int(np.sum((true == i) & (labels == j))) for j in range(3)] + [0] for i in range(3)]
    assert [list(row) for row in total.segmentation.confusion] == confusion
    n = np.array(confusion)[:, :3]
    iou = np.diag(n) / (n.sum(0) + n.sum(1) - np.diag(n))
    assert total.segmentation.global_accuracy == pytest.approx(np.trace(n) / n.sum())
    assert total.segmentation.class_accuracy == pytest.approx(np.mean(np.diag(n) / n.sum(1)))
    assert total.segmentation.iou == pytest.approx(tuple(iou))
    assert total.segmentation.mean_iou == pytest.approx(iou.mean())
    first = outcome.evaluation.frames[0]
    assert first.accuracy == pytest.approx(np.mean((labels[0] == true[0])[true[0] != 255]))
    assert_label_bands(total.segmentation, "reference", labels, true, truth)


def assert_label_bands(
    segmentation: Any, distance: str, labels: np.ndarray, true: np.ndarray, depth: np.ndarray
) -> None:
    """The bands of `segmentation` are those of labels and truth [N, H, W] where `depth` says how far a pixel is."""
    assert segmentation.distance == distance
    for near, far, band in zip(BANDS[:-1], BANDS[1:], segmentation.bands, strict=True):
        inside = (true != 255) & (depth > near) & (depth <= far)
        seen, right = labels[inside], true[inside]
        assert (band.near, band.far, band.pixels) == (near, far, inside.sum())
        if not inside.any():
            assert (band.global_accuracy, band.class_accuracy, band.mean_iou) == (None, None, None)
            continue
        present = np.unique(right)
        hits = [np.sum((seen == c) & (right == c)) for c in present]
        iou = [hit / np.sum((seen == c) | (right == c)) for hit, c in zip(hits, present, strict=True)]
        assert band.global_accuracy == pytest.approx(np.mean(seen == right))
        accuracies = [hit / np.sum(right == c) for hit, c in zip(hits, present, strict=True)]
        assert band.class_accuracy == pytest.approx(np.mean(accuracies))
        assert band.mean_iou == pytest.approx(np.mean(iou))
        assert [value for value in band.iou if value is not None] == pytest.approx(iou)
        assert [c for c, value in enumerate(band.iou) if value is not None] == present.tolist()


def test_without_true_depth_the_predicted_one_says_how_far_labels_are(
    evaluate_bag: Callable[..., Any], tiny_engine: Path, tmp_path: Path
) -> None:
    outcome = evaluate_bag(write_drive(tmp_path / "drive", 2), "--labels-topic", LABELS, "--topic", IMAGE, "--no-bag")
    assert outcome.code == 0, outcome.said
    with open_engine(tiny_engine, "onnx_cpu", threads=1) as engine:
        seen = [independent_prediction(engine, picture(n), fx=160.0) for n in range(2)]
    depth, labels, _ = (np.stack(each) for each in zip(*seen, strict=True))
    true = np.stack([true_labels(n) for n in range(2)])
    segmentation = outcome.evaluation.total.segmentation
    assert_label_bands(segmentation, "predicted", labels, true, depth)
    assert sum(band.pixels for band in segmentation.bands) < segmentation.pixels, "the sky is in no band"


def test_without_references_says_what_can_be_known(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    outcome = evaluate_bag(write_drive(tmp_path / "drive", 12, truth=False), "--no-bag")
    assert outcome.code == 0, outcome.said
    total = outcome.evaluation.total
    assert (total.depth, total.segmentation, total.depth_matches) == (None, None, None)
    assert total.rate_hz == pytest.approx(10.0)
    assert total.duration_s == pytest.approx(1.1)
    assert total.consistency.pairs == 11
    assert total.consistency.labels > 0.9, "the scene moves with the flow that is compensated"
    assert {each.why for each in outcome.evaluation.highlights} == {"least confident", "least steady"}
    assert not (outcome.folder / "predictions").exists()


def test_predictions_have_the_topics_types_and_stamps_of_the_node(
    evaluate_bag: Callable[..., Any], tiny_engine: Path, tmp_path: Path
) -> None:
    outcome = evaluate_bag(write_drive(tmp_path / "drive", 3, truth=False), "--colors", "--points")
    assert outcome.code == 0, outcome.said
    found: dict[str, list[Any]] = {}
    with Reader(outcome.folder / "predictions" / "0_drive") as reader:
        latched = next(c for c in reader.connections if c.topic.endswith("label_info"))
        assert latched.ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"
        for connection, stamp_ns, data in reader.messages():
            message = typestore().deserialize_cdr(data, connection.msgtype)
            found.setdefault(f"{connection.topic} {connection.msgtype}", []).append((stamp_ns, message))
    images = ("depth/image", "segmentation/mask", "segmentation/confidence", "segmentation/color", "depth/color")
    per_frame = [f"/hybridnet/{name} sensor_msgs/msg/Image" for name in images]
    per_frame += [f"/hybridnet/{name}/camera_info sensor_msgs/msg/CameraInfo" for name in ("depth", "segmentation")]
    per_frame += ["/hybridnet/points sensor_msgs/msg/PointCloud2"]
    assert set(found) == {*per_frame, "/hybridnet/segmentation/label_info vision_msgs/msg/LabelInfo"}
    stamps = [START_NS + n * 100_000_000 for n in range(3)]
    for name in per_frame:
        headers = [message.header for _, message in found[name]]
        assert [h.stamp.sec * 10**9 + h.stamp.nanosec for h in headers] == stamps
        assert [recorded for recorded, _ in found[name]] == stamps
        assert {h.frame_id for h in headers} == {FRAME}
    with open_engine(tiny_engine, "onnx_cpu", threads=1) as engine:
        depth, labels, _ = independent_prediction(engine, picture(1), fx=160.0)
    published = found["/hybridnet/depth/image sensor_msgs/msg/Image"][1][1]
    assert published.encoding == "32FC1"
    np.testing.assert_array_equal(published.data.view(np.float32).reshape(HEIGHT, WIDTH), depth.astype(np.float32))
    mask = found["/hybridnet/segmentation/mask sensor_msgs/msg/Image"][1][1]
    np.testing.assert_array_equal(mask.data.reshape(HEIGHT, WIDTH), labels)
    names = found["/hybridnet/segmentation/label_info vision_msgs/msg/LabelInfo"][0][1].class_map
    assert [(each.class_id, each.class_name) for each in names] == [
        (0, "road"), (1, "car"), (2, "sky"), (255, "unlabelled"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "how", [{"storage": "sqlite3"}, {"compression": "message"}, {"compression": "file"}, {"compression": "storage"}]
)
def test_every_kind_of_bag_gives_the_same(
    evaluate_bag: Callable[..., Any], tmp_path: Path, how: dict[str, str]
) -> None:
    options = ("--topic", IMAGE, "--depth-topic", DEPTH, "--no-bag")
    plain = evaluate_bag(write_drive(tmp_path / "plain", 3), *options, output="one")
    other = evaluate_bag(write_drive(tmp_path / "other", 3, **how), *options, output="two")
    assert other.code == 0, other.said
    assert other.evaluation.total == plain.evaluation.total


def test_folders_of_images_and_truth(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("image", "depth", "labels"):
        (tmp_path / name).mkdir()
    for n in range(12):
        cv2.imwrite(str(tmp_path / "image" / f"{n}.png"), picture(n))
        np.save(tmp_path / "depth" / f"{n}.npy", true_depth(n))
        cv2.imwrite(str(tmp_path / "labels" / f"{n}.png"), true_labels(n))
    (tmp_path / "depth" / "3.npy").unlink()
    outcome = evaluate_bag(tmp_path / "image", "--fx", 160, "--depth-folder", tmp_path / "depth", "--labels-folder",
                           tmp_path / "labels")  # fmt: skip
    assert outcome.code == 0, outcome.said
    total = outcome.evaluation.total
    assert (total.depth_matches.matched, total.depth_matches.unmatched) == (11, 1)
    bag = evaluate_bag(write_drive(tmp_path / "drive", 12), "--labels-topic", LABELS, "--depth-topic", DEPTH,
                       output="two")  # fmt: skip
    # One depth file is missing, and depth says how far labels are.
    assert replace(total.segmentation, bands=()) == replace(bag.evaluation.total.segmentation, bands=())
    own = [frame.depth for frame in outcome.evaluation.frames]
    theirs = [frame.depth for frame in bag.evaluation.frames]
    assert own[3] is None
    assert own[:3] + own[4:] == theirs[:3] + theirs[4:], "10 comes after 9"


def test_a_video(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (WIDTH, HEIGHT))
    for n in range(5):
        video.write(picture(n))
    video.release()
    outcome = evaluate_bag(path)
    assert outcome.code == 0, outcome.said
    assert outcome.evaluation.total.frames == 5
    assert outcome.evaluation.total.rate_hz == pytest.approx(20.0)
