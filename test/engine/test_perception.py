"""Pictures run in one batch give what each gives alone, so that a replay of one camera equals a robot with several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hybridnet_ros.engine import open_engine, perception
from hybridnet_ros.engine.perception import perceive, perceive_batch
from hybridnet_ros.scene.depth import limit_depth
from tiny import write_tiny_engine


@pytest.mark.parametrize("name", ["tiny", "driving"])
def test_a_batch_gives_what_each_picture_gives_alone(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (3, 12, 16, 3), np.uint8)
    pictures = list(coarse.repeat(10, axis=1).repeat(10, axis=2))
    pictures[1] = np.pad(pictures[1], ((0, 0), (0, 5), (0, 0)))[:, :160]  # rows with padding, as a camera may send
    fx = [100.0, None, 300.0]
    with open_engine(write_tiny_engine(tmp_path) if name == "tiny" else name) as engine:
        together = perceive_batch(engine, pictures, fx, 2.0, 60.0)
        for view, picture, one_fx in zip(together, pictures, fx, strict=True):
            alone = perceive(engine, picture, one_fx, 2.0, 60.0)
            # ONNX Runtime may add up the parts of a batch in another order than those of one picture.
            np.testing.assert_allclose(view.depth, alone.depth, rtol=0 if name == "tiny" else 1e-4)
            assert np.mean(view.labels != alone.labels) <= (0 if name == "tiny" else 1e-3)
            assert np.abs(view.confidence.astype(int) - alone.confidence).max() <= (0 if name == "tiny" else 1)
        plain = engine.predict(pictures[1][np.newaxis])
        np.testing.assert_array_equal(perceive(engine, pictures[1], None, 0.0, 1e9).labels, plain.labels[0])
        finite = np.isfinite(together[1].depth)
        np.testing.assert_array_equal(together[1].depth[finite], plain.depth[0][finite])


def test_depth_is_limited_once_and_only_if_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited: list[int] = []

    def limit(depth: NDArray[np.float32], *limits: object) -> NDArray[np.float32]:
        limited.append(depth.size)
        return limit_depth(depth, *limits)  # type: ignore[arg-type]

    monkeypatch.setattr(perception, "limit_depth", limit)
    with open_engine(write_tiny_engine(tmp_path)) as engine:
        view = perceive(engine, np.zeros((64, 96, 3), np.uint8), None, 1e3, 1e4)
    assert (view.mask(0.0).shape, limited) == ((64, 96), [])
    assert np.all(view.depth == -np.inf)
    assert np.all(view.depth == -np.inf)
    assert limited == [64 * 96]
