"""Each dataset reads what its official layout says."""

from pathlib import Path

import numpy as np
import pytest

from training.config import ConfigError, SourceConfig, TruthConfig
from training.data.cityscapes import Cityscapes, depth_from_disparity
from training.data.folder import PlainFolder
from training.data.kitti import KittiDepthBenchmark, KittiSemantics
from training.data.label_sets import read_label_set
from training.data.nyuv2 import NyuV2
from training.data.sample import read_png
from training.data.sources import class_shares, open_source, open_truth

from .conftest import draw_scene, write_png
from .layouts import (
    BASELINE,
    FX,
    HEIGHT,
    WIDTH,
    write_cityscapes,
    write_folder,
    write_kitti_depth,
    write_kitti_semantics,
    write_nyuv2,
)


def source(kind: str, path: str = ".", **changes: object) -> SourceConfig:
    return SourceConfig(
        **{"kind": kind, "path": path, "weight": 1, "licence": "-", "origin": "-", "use": "-", **changes}
    )


def test_cityscapes(tmp_path: Path) -> None:
    samples = Cityscapes(write_cityscapes(tmp_path))
    assert len(samples) == 2
    image, labels, depth = draw_scene(HEIGHT, WIDTH, 1)
    sample = samples[1]
    assert np.array_equal(sample.image, image) and np.array_equal(sample.labels, labels)
    assert sample.fx == FX
    # The disparity is stored in steps of 1/256 px.
    assert np.array_equal(np.isnan(sample.depth), np.isnan(depth))
    error = np.abs(BASELINE * FX / sample.depth - BASELINE * FX / depth)
    assert np.nanmax(error) <= 0.5 / 256 + 1e-3
    without = Cityscapes(tmp_path, labels=False)[0]
    assert without.labels is None and without.depth is not None


def test_cityscapes_depth_is_the_papers_formula() -> None:
    stored = np.array([[0, 1, 257, 1 + 256 * 40]], np.uint16)
    depth = depth_from_disparity(stored, 473.57)
    assert (
        np.isnan(depth[0, :2]).all()
        and depth[0, 2] == pytest.approx(473.57)
        and depth[0, 3] == pytest.approx(11.84, abs=0.01)
    )


def test_cityscapes_ignores_what_is_not_evaluated(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    ids = np.arange(34, dtype=np.uint8).repeat(HEIGHT * WIDTH // 34 + 1)[: HEIGHT * WIDTH].reshape(HEIGHT, WIDTH)
    write_png(next((tmp_path / "gtFine").rglob("*000000*_labelIds.png")), ids)
    labels = Cityscapes(tmp_path)[0].labels
    wanted = read_label_set("cityscapes19").ids
    for label_id in range(34):
        expected = wanted.index(label_id) if label_id in wanted else 255
        assert (labels[ids == label_id] == expected).all()


def test_nyuv2_tells_other_prop_from_unlabelled(tmp_path: Path) -> None:
    write_nyuv2(tmp_path)
    train, test = NyuV2(tmp_path, "train")[0], NyuV2(tmp_path, "test")[0]
    # In the training files the two are one and neither is learnt; in the test part only what has no label is left out.
    assert set(np.unique(train.labels)) == {0, 38, 255}
    assert set(np.unique(test.labels)) == {0, 38, 39, 255}
    assert not (test.labels[:, :32] == 39).any() and (test.labels[:, 32:] == 39).any()
    assert train.depth.shape == test.depth.shape == (48, 64)
    assert train.fx == pytest.approx(51.89)
    depth = draw_scene(48, 64, 1)[2]
    near = depth < 9
    assert np.median(np.abs(train.depth - depth)[near]) < 0.06


def test_nyuv2_depth_of_every_second_pixel_lies_at_these_pixels(tmp_path: Path) -> None:
    write_nyuv2(tmp_path)
    for axis in (0, 1):
        codes = (np.indices((48, 64))[axis] * 3).astype(np.uint8)
        write_png(tmp_path / "depth" / "0001.png", codes[::2, ::2])
        depth = NyuV2(tmp_path, "train")[0].depth
        inside = np.s_[:47, :63]  # behind the last pixel that was stored there is nothing to interpolate with
        np.testing.assert_allclose(depth[inside], ((codes + 0.5) / 25.5)[inside], rtol=1e-6)


def test_nyuv2_splits(tmp_path: Path) -> None:
    write_nyuv2(tmp_path)
    names = {split: NyuV2(tmp_path, split).names for split in ("train", "test", "train_fit", "train_held")}
    assert names["train_fit"] + names["train_held"] == names["train"] and len(names["train_held"]) == 1
    assert not set(names["train"]) & set(names["test"])


def test_nyuv2_with_thirteen_classes(tmp_path: Path) -> None:
    write_nyuv2(tmp_path)
    thirteen = read_label_set("nyu13")
    samples = open_source(source("nyuv2", split="test"), tmp_path, thirteen)
    labels = samples[0].labels
    # As in the files of 13 classes that the test part has, less one; 0 there is unlabelled.
    expected = read_png(tmp_path / "label13" / "0011.png", np.uint8).astype(int) - 1
    assert np.array_equal(labels, np.where(expected < 0, 255, expected))


def test_kitti_depth_benchmark(tmp_path: Path) -> None:
    samples = KittiDepthBenchmark(write_kitti_depth(tmp_path))
    assert [sample.fx for sample in (samples[0], samples[1])] == [721.5, 707.1]
    image, _, depth = draw_scene(HEIGHT, WIDTH, 1)
    assert np.array_equal(samples[0].image, image)
    assert np.array_equal(np.isnan(samples[0].depth), np.isnan(depth))
    assert np.nanmax(np.abs(samples[0].depth - depth)) <= 1 / 256


def test_kitti_semantics(tmp_path: Path) -> None:
    samples = KittiSemantics(write_kitti_semantics(tmp_path))
    assert np.array_equal(samples[0].labels, draw_scene(HEIGHT, WIDTH, 3)[1]) and samples[0].depth is None


def test_a_plain_folder(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "labels" / "1.png").unlink()
    (tmp_path / "depth" / "2.png").unlink()
    both, depth_only, labels_only = PlainFolder(tmp_path)
    _, labels, depth = draw_scene(HEIGHT, WIDTH, 0)
    assert both.fx == 100 and np.array_equal(both.labels, labels)
    assert np.array_equal(np.isnan(both.depth), np.isnan(depth)) and np.nanmax(np.abs(both.depth - depth)) <= 0.01
    assert depth_only.labels is None and labels_only.depth is None


def test_sources_give_what_is_wanted_in_the_runs_classes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    cityscapes, camvid = read_label_set("cityscapes19"), read_label_set("camvid11")
    samples = open_source(source("cityscapes", depth=False), tmp_path, camvid)
    expected = camvid.mapping_from("cityscapes19")[draw_scene(HEIGHT, WIDTH, 0)[1]]
    assert np.array_equal(samples[0].labels, expected) and samples[0].depth is None
    shares = class_shares(samples, 11)
    assert shares.sum() == pytest.approx(1) and shares[3] > 0.2
    with pytest.raises(ConfigError, match=r"no mapping from 'cityscapes19'.*add from_cityscapes19"):
        open_source(source("cityscapes"), tmp_path, read_label_set("nyu40"))
    assert open_source(source("cityscapes", labels=False), tmp_path, read_label_set("nyu40"))[0].labels is None
    with pytest.raises(ConfigError, match="no label set called nyu41; there is camvid11, cityscapes19"):
        read_label_set("nyu41")
    assert class_shares(open_source(source("cityscapes", labels=False), tmp_path, cityscapes), 19).sum() == 0


def test_splits_are_asked_of_datasets_that_have_some(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(ConfigError, match="folder at . has no splits: leave out split: train"):
        open_truth(TruthConfig(kind="folder", path=Path(), split="train", about="-"), tmp_path, True, True)
