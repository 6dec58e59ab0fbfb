"""Pictures run in one batch give what each gives alone, so that a replay of one camera equals a robot with several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hybridnet_ros.engine import open_engine
from hybridnet_ros.engine.perception import perceive, perceive_batch
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
