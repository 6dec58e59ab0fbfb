import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.config import load_config
from training.data.camvid import CamVid
from training.data.kitti import KittiDepth
from training.data.mixture import Mixture
from training.data.road_scenes import FOCAL_LENGTH_PER_WIDTH, RoadScenes
from training.data.sample import DataError, Sample
from training.data.sources import class_shares
from training.data.transforms import TrainingTransform, vary_colour

from .conftest import small_config


@pytest.fixture
def transform(tmp_path: Path) -> TrainingTransform:
    config = load_config(small_config(tmp_path / "config.yaml"))
    return TrainingTransform(config.data.model_copy(update={"colour": 0.0}), config.engine)


def test_road_scenes_read_what_is_there(data: Path) -> None:
    both, labels_only, depth_only = (RoadScenes(data / name)[0] for name in ("both", "labels_only", "depth_only"))
    assert both.image.shape == (72, 128, 3) and both.fx == pytest.approx(FOCAL_LENGTH_PER_WIDTH * 128)
    assert both.labels is not None and both.labels.shape == (72, 128)
    assert both.depth is not None and both.depth.shape == (72, 128) and np.isnan(both.depth[0, 0])
    assert labels_only.depth is None and depth_only.labels is None
    assert np.nanmax(np.abs(np.log(both.depth / RoadScenes(data / "depth_only")[0].depth))) == 0
    car = both.labels == 13
    assert np.nanmedian(both.depth[car]) == pytest.approx(8.0, rel=0.02)


def test_class_shares_are_those_of_the_files(data: Path) -> None:
    source = RoadScenes(data / "both")
    labels = np.concatenate([sample.labels.ravel() for sample in source if sample.labels is not None])
    shares = class_shares(source, 19)
    assert shares.sum() == pytest.approx(1)
    assert shares[13] == pytest.approx(np.mean(labels == 13))
    assert class_shares(RoadScenes(data / "depth_only"), 19).sum() == 0


def test_validation_sets(data: Path) -> None:
    camvid, kitti = CamVid(data / "camvid"), KittiDepth(data / "kitti")
    assert len(camvid) == len(kitti) == 2
    assert set(np.unique(camvid[0].labels)) == {0, 3, 8}
    assert kitti[0].depth is not None and np.nanmin(kitti[0].depth) > 0 and np.isnan(kitti[0].depth[0, 0])
    assert kitti[0].fx == pytest.approx(721.5377 * 128 / 1242)


def test_bad_folders_name_the_culprit(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match=r"no \*\.jpg in"):
        RoadScenes(tmp_path)
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "a.jpg").write_bytes((data / "both" / "image" / "0.jpg").read_bytes())
    with pytest.raises(DataError, match="neither label19_pseudo nor depth_pseudo"):
        RoadScenes(tmp_path)
    (tmp_path / "label19_pseudo").mkdir()
    with pytest.raises(DataError, match=r"a\.jpg has no label19_pseudo/a\.png"):
        RoadScenes(tmp_path)
    png = (data / "both" / "label19_pseudo" / "0.png").read_bytes()
    (tmp_path / "label19_pseudo" / "a.png").write_bytes(png[:20])
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        RoadScenes(tmp_path)[0]
    cv2.imwrite(str(tmp_path / "label19_pseudo" / "a.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DataError, match="is 10x10, its image 128x72"):
        RoadScenes(tmp_path)[0]
    cv2.imwrite(str(tmp_path / "label19_pseudo" / "a.png"), np.zeros((72, 128), np.uint16))
    with pytest.raises(DataError, match="uint16"):
        RoadScenes(tmp_path)[0]


def test_depth_is_canonical_whatever_the_scale(transform: TrainingTransform) -> None:
    """A wall at 10 m: at scale s its canonical depth is 10 * fx_canonical / (s * fx), and its stripes show s."""
    height, width, period = 72, 128, 16
    stripes = (np.arange(width) // (period // 2) % 2 * 255).astype(np.uint8)
    image = np.repeat(np.broadcast_to(stripes[:, np.newaxis], (height, width, 1)), 3, axis=2)
    sample = Sample("wall", np.ascontiguousarray(image), 100.0, depth=np.full((height, width), 10, np.float32))
    smallest, largest = transform.data.scale
    for seed in range(10):
        result = transform(sample, np.random.default_rng(seed))
        depth = result["depth"][np.isfinite(result["depth"])]
        assert depth.size and np.ptp(depth) == 0
        scale = 10 * transform.engine.fx / (depth[0] * sample.fx)
        base = math.sqrt(transform.engine.pixels / (height * width))
        assert smallest * base <= scale <= largest * base
        row = result["image"][np.flatnonzero(np.isfinite(result["depth"]).any(axis=1))[0] * 2 + 2, :, 0].astype(int)
        edges = np.flatnonzero((row[1:] > 190) & (row[:-1] <= 190))
        if len(edges) > 3:
            assert np.diff(edges[1:-1]).mean() / period == pytest.approx(scale, rel=0.1)


def test_image_labels_and_depth_stay_aligned(transform: TrainingTransform) -> None:
    rng = np.random.default_rng(0)
    labels = cv2.resize(rng.integers(0, 2, (6, 8), np.uint8), (128, 72), interpolation=cv2.INTER_NEAREST)
    image = np.repeat(labels[..., np.newaxis] * 255, 3, axis=2)
    sample = Sample("blocks", image, 100.0, labels=labels, depth=np.where(labels, 50, 5).astype(np.float32))
    for seed in range(20):
        result = transform(sample, np.random.default_rng(seed))
        assert result["image"].shape == (64, 96, 3) and result["labels"].shape == result["depth"].shape == (32, 48)
        known = result["labels"] != 255
        assert np.array_equal(known, np.isfinite(result["depth"]))
        # The image is interpolated, its targets are not: they may differ along the blocks' edges only.
        shown = cv2.resize(result["image"], (48, 32), interpolation=cv2.INTER_AREA)[..., 0]
        sure = known & (np.abs(shown - 127.5) > 64)
        assert sure.sum() > 0.7 * known.sum()
        assert np.mean((shown > 127)[sure] == (result["labels"][sure] == 1)) > 0.99
        metres = result["depth"][known]
        far = metres > 2 * metres.min() if len(np.unique(metres)) > 1 else result["labels"][known] == 1
        assert np.array_equal(far, result["labels"][known] == 1)


def test_missing_targets_are_all_ignored(transform: TrainingTransform, data: Path) -> None:
    result = transform(RoadScenes(data / "labels_only")[0], np.random.default_rng(0))
    assert np.isnan(result["depth"]).all() and (result["labels"] != 255).any()
    result = transform(RoadScenes(data / "depth_only")[0], np.random.default_rng(0))
    assert (result["labels"] == 255).all() and np.isfinite(result["depth"]).any()


def test_colour_variation_stays_in_range_and_is_off_at_zero() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert vary_colour(image, 0.0, np.random.default_rng(0)) is image
    varied = vary_colour(image, 0.5, np.random.default_rng(0))
    assert varied.dtype == np.uint8 and varied.shape == image.shape and not np.array_equal(varied, image)


def test_a_draw_depends_on_seed_and_number_alone(transform: TrainingTransform, data: Path) -> None:
    sources = [RoadScenes(data / "both"), RoadScenes(data / "labels_only")]
    first, second = (Mixture(sources, (3, 1), transform, seed=7, draws=100) for _ in range(2))
    expected = [first[draw] for draw in range(6)]
    for draw in reversed(range(6)):
        again = second[draw]
        assert again["name"] == expected[draw]["name"]
        for key in ("image", "labels", "depth"):
            np.testing.assert_array_equal(again[key], expected[draw][key])
    names = [str(first[draw]["name"]) for draw in range(100)]
    share = np.mean(["both" in name for name in names])
    assert 0.6 < share < 0.9
    other = Mixture(sources, (3, 1), transform, seed=8, draws=100)
    assert [other[draw]["name"] for draw in range(20)] != names[:20]
