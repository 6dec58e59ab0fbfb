"""What is shipped is what was promised: the engines in the checkout, on the recorded drive of the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from hybridnet_ros.demo.recording import Frame, read_frames
from hybridnet_ros.engine import Engine, load_manifest, open_engine
from hybridnet_ros.engine.engine import shipped_engines
from hybridnet_ros.scene.metrics import DepthMetrics

ROOT = Path(__file__).parents[1]
FX = 721.5377


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return read_frames(ROOT / "demo" / "kitti_sequence")[::8]


@pytest.fixture(scope="module")
def driving() -> Iterator[Engine]:
    with open_engine("driving", runtime="onnx_cpu") as engine:
        yield engine


@pytest.mark.parametrize("name", sorted(shipped_engines()))
def test_file_manifest_and_card_belong_together(name: str) -> None:
    path = shipped_engines()[name]
    manifest = load_manifest(path.with_suffix(".json"))
    content = path.read_bytes()
    assert len(content) <= 16e6
    assert hashlib.sha256(content).hexdigest() == manifest.onnx_sha256
    card = path.with_suffix(".md").read_text()
    assert manifest.onnx_sha256[:16] in card and "## Limits" in card
    for figure in manifest.accuracy:
        assert f"{figure.value:.2f}" in card or f"{figure.value:.3f}" in card, figure
    for source in manifest.training.data:
        assert source.licence in card
        assert "kitti_sequence" not in source.name and "kitti_accumulated" not in source.name, "validation only"
    # The export must not carry where it was made.
    assert str(Path.home()).encode() not in content and b"site-packages" not in content


def test_there_is_a_driving_engine_with_the_classes_of_cityscapes() -> None:
    names = load_manifest(shipped_engines()["driving"].with_suffix(".json")).labels.names
    assert len(names) == 19 and names[0] == "road" and names[10] == "sky" and names[13] == "car"


def test_depth_is_metric_on_a_drive_it_never_saw(driving: Engine, frames: list[Frame]) -> None:
    metrics, ratios = DepthMetrics(), []
    for frame in frames:
        depth = driving.predict(frame.image[np.newaxis], FX).depth[0]
        metrics.add(depth, frame.lidar)
        near = frame.lidar < 10
        ratios.append(depth[near] / frame.lidar[near])
    figures = metrics.pooled()
    assert figures["pixels"] > 50_000 and figures["missing"] == 0
    # A hard scene: a jam in front of a bridge, of which training had none. What is near must be right in metres.
    assert figures["abs_rel"] < 0.30
    assert np.median(np.concatenate(ratios)) == pytest.approx(1, abs=0.15)


def test_road_is_road_and_cars_are_there(driving: Engine, frames: list[Frame]) -> None:
    road, car = driving.manifest.labels.index("road"), driving.manifest.labels.index("car")
    shown = [driving.predict(frame.image[np.newaxis], FX).labels[0] for frame in frames]
    height, width = shown[0].shape
    # In the first frame the lane before us is free; later the car ahead stands there.
    lane = (slice(int(0.85 * height), int(0.98 * height)), slice(int(0.4 * width), int(0.6 * width)))
    assert np.mean(shown[0][lane] == road) > 0.9
    for labels in shown:
        assert np.mean(labels == car) > 0.2


def test_the_same_scene_at_another_resolution_has_the_same_metres(driving: Engine, frames: list[Frame]) -> None:
    """Resized, and cropped: the focal length in px says how far away things are, not the size of the picture."""
    image = frames[2].image
    depth = driving.predict(image[np.newaxis], FX).depth[0]
    resized = cv2.resize(image, (1920, 580), interpolation=cv2.INTER_LINEAR)
    larger = cv2.resize(driving.predict(resized[np.newaxis], FX * 1920 / 1242).depth[0], (1242, 375))
    assert np.median(larger / depth) == pytest.approx(1, abs=0.1)
    window = (slice(0, 375), slice(221, 1021))
    cropped = driving.predict(np.ascontiguousarray(image[window])[np.newaxis], FX).depth[0]
    assert np.median(cropped / depth[window]) == pytest.approx(1, abs=0.2)


def test_a_batch_is_its_images_one_by_one(driving: Engine, frames: list[Frame]) -> None:
    images = np.stack([frame.image for frame in frames[:2]])
    batch = driving.predict(images, [FX, 500.0])
    for index, fx in enumerate((FX, 500.0)):
        single = driving.predict(images[index : index + 1], fx)
        assert np.mean(single.labels[0] != batch.labels[index]) < 1e-3
        np.testing.assert_allclose(single.depth[0], batch.depth[index], rtol=1e-2)


def test_the_indoor_engine_knows_the_room_on_its_card() -> None:
    """The first row of the card's picture begins with a camera image that is 560 px wide, of NYUv2's test split."""
    path = shipped_engines()["indoor"]
    image = cv2.imread(str(path.with_suffix(".jpg")))[:420, :560, ::-1]
    with open_engine("indoor", runtime="onnx_cpu") as engine:
        names = engine.manifest.labels.names
        seen = engine.predict(np.ascontiguousarray(image)[np.newaxis], 518.9 * 560 / 640)
    assert len(names) == 40 and names[:2] == ("wall", "floor")
    shares = np.bincount(seen.labels.ravel(), minlength=40) / seen.labels.size
    assert shares[names.index("wall")] > 0.1 and np.count_nonzero(shares > 0.01) >= 4
    assert 0.5 < np.percentile(seen.depth, 1) < np.percentile(seen.depth, 99) < 10
