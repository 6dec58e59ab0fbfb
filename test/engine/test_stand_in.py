"""The engine that is no network: of any size, and with something to do for those who limit depth."""

from __future__ import annotations

import numpy as np

from hybridnet_ros.engine import open_engine
from hybridnet_ros.engine.perception import perceive


def test_the_stand_in_has_a_scene_of_every_size() -> None:
    with open_engine("stand-in") as engine:
        for height, width in ((48, 64), (1, 1), (720, 1280)):
            image = np.zeros((height, width, 3), np.uint8)
            view = perceive(engine, image, 500.0, 0.1, 80.0)
            assert view.depth.shape == view.labels.shape == view.confidence.shape == (height, width)
            assert (view.depth.dtype, view.labels.dtype, view.confidence.dtype) == (np.float32, np.uint8, np.uint8)
    sky = view.labels == engine.manifest.beyond_labels[0]
    assert 0.3 < sky.mean() < 0.4
    assert np.isposinf(view.depth[sky]).all()
    assert np.isposinf(view.depth[~sky]).any(), "beyond 80 m"
    assert 0.5 < np.isfinite(view.depth).mean() < 0.7


def test_the_stand_in_says_the_same_again_in_the_same_memory() -> None:
    with open_engine("stand-in") as engine:
        image = np.zeros((30, 40, 3), np.uint8)
        views = [perceive(engine, image, None, 0.1, 80.0) for _ in range(2)]
        np.testing.assert_array_equal(views[0].depth, views[1].depth)
        assert np.shares_memory(views[0].depth, views[1].depth)
