"""A teacher's depth is put right by the height of the camera above the road."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import ConfigError
from training.data.camera_height import AtHeight, camera_height
from training.data.label_sets import read_label_set
from training.data.sample import Sample
from training.data.sources import open_source

from .layouts import write_cityscapes, write_kitti_depth
from .test_datasets import source

HEIGHT, WIDTH, FX = 192, 640, 370.0


def road_scene(height: float, pitch: float = 0.0, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Depth float32 [192, 640] of a plane `height` under the camera, NaN above the horizon; where it is road."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    rays = np.stack([(x - WIDTH / 2) / FX, (y - HEIGHT / 2) / FX, np.ones_like(x)])
    normal = np.array([np.sin(roll), np.cos(roll) * np.cos(pitch), np.cos(roll) * np.sin(pitch)])
    downward = np.tensordot(normal, rays, 1)
    depth = np.where(downward > height / 200, height / np.maximum(downward, 1e-9), np.nan)
    return depth.astype(np.float32), np.isfinite(depth) & (np.abs(x - WIDTH / 2) < 200)


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 2.0), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.integers(0, 2**31))
def test_the_height_of_a_noisy_plane_with_things_on_it(height: float, pitch: float, roll: float, seed: int) -> None:
    depth, road = road_scene(height, pitch, roll)
    rng = np.random.default_rng(seed)
    depth *= np.exp(rng.normal(0, 0.02, depth.shape)).astype(np.float32)
    depth[140:180, 310:340] = 6.0  # what stands on the road and is labelled as road: up to a tenth of it
    found = camera_height(depth, road, FX)
    assert found == pytest.approx(height, rel=0.04)


def test_without_road_in_sight_there_is_no_height() -> None:
    depth, road = road_scene(1.65)
    assert camera_height(depth, np.zeros_like(road), FX) is None
    assert camera_height(np.full_like(depth, np.nan), road, FX) is None
    assert camera_height(depth * 10, road, FX) is None  # nothing within 15 m


@dataclass
class Scenes:
    """Samples in memory."""

    samples: list[Sample]
    label_set: str | None = "cityscapes19"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def test_depth_is_scaled_to_the_height_or_unknown() -> None:
    depth, road = road_scene(1.5, 0.02)
    image, labels = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.where(road, 0, 8).astype(np.uint8)
    right = Sample("right", image, FX, labels, depth)
    wrong = Sample("far too near", image, FX, labels, depth * np.float32(0.6))
    blind = Sample("no road", image, FX, np.full_like(labels, 8), depth)
    bare = Sample("no depth", image, FX, labels)
    samples = AtHeight(Scenes([right, wrong, blind, bare]), 1.65, road=0)
    assert len(samples) == 4 and samples.label_set == "cityscapes19"
    assert np.allclose(samples[0].depth, depth * 1.1, rtol=1e-3, equal_nan=True)
    assert np.array_equal(samples[0].labels, labels)
    assert samples[1].depth is None and samples[2].depth is None and samples[3].depth is None


def test_a_source_says_its_cameras_height(tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "street")
    cityscapes = read_label_set("cityscapes19")
    plain = open_source(source("cityscapes", "street"), tmp_path, cityscapes)[0]
    height = camera_height(plain.depth, plain.labels == 0, plain.fx)
    assert height is not None
    scaled = open_source(source("cityscapes", "street", camera_height=1.1 * height), tmp_path, cityscapes)[0]
    assert np.allclose(scaled.depth, 1.1 * plain.depth, rtol=1e-4, equal_nan=True)
    # Where labels are not wanted they are read all the same, and given to nobody.
    depth_only = source("cityscapes", "street", camera_height=1.1 * height, labels=False)
    sample = open_source(depth_only, tmp_path, cityscapes)[0]
    assert sample.labels is None and np.array_equal(sample.depth, scaled.depth, equal_nan=True)


def test_a_source_without_road_labels_refuses_a_height(tmp_path: Path) -> None:
    write_kitti_depth(tmp_path / "lidar")
    with pytest.raises(ConfigError, match="camera_height of lidar: it has no labels that tell where the road is"):
        open_source(source("kitti_depth", "lidar", camera_height=1.65), tmp_path, read_label_set("cityscapes19"))
