"""Whatever is drawn, a sample's metres stay true: checked on scenes whose geometry is known."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import load_config
from training.data.sample import IGNORE, Sample
from training.data.transforms import TrainingTransform, vary_colour

from .rooms import room_config

HEIGHT, WIDTH, FX = 60, 90, 80.0


@cache
def transform(smallest: float, largest: float, flip: float, colour: float) -> TrainingTransform:
    with TemporaryDirectory() as folder:
        config = load_config(room_config(Path(folder) / "rooms.yaml", steps=1))
    changes = {"scale": (smallest, largest), "flip": flip, "colour": colour}
    return TrainingTransform(config.data.model_copy(update=changes), config.engine)


def slanted_plane() -> Sample:
    """Depth that grows from left to right; the image's red and the labels say in which column each pixel was."""
    columns = np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    image = np.repeat((columns * 2)[..., np.newaxis], 3, axis=2).astype(np.uint8)
    return Sample("plane", image, FX, (columns // 10).astype(np.uint8), (2.0 + columns / 10).astype(np.float32))


scales = st.tuples(st.floats(0.3, 1.0), st.floats(1.0, 3.0))


@settings(max_examples=60)
@given(scales=scales, seed=st.integers(0, 2**32 - 1), flip=st.sampled_from([0.0, 1.0]))
def test_lateral_extent_is_kept(scales: tuple[float, float], seed: int, flip: float) -> None:
    """X = (u - cx) * Z / fx of the canonical camera, from one column to another, is that of the camera itself.

    An image resized by s has s times the focal length. Seen by the canonical camera in its place, a step of s px at
    depth Z * fx_canonical / (s * fx) spans the same metres as a step of 1 px at Z did.
    """
    sample = slanted_plane()
    varied = transform(*scales, flip, 0.0)
    result = varied(sample, np.random.default_rng(seed))
    assert sample.depth is not None
    labels, depth = result["labels"], result["depth"]
    known = labels != IGNORE
    assert np.array_equal(known, np.isfinite(depth))
    # The column that each pixel came from, by its depth: depth is scaled by one factor only, which the labels tell.
    factors = []
    for label in np.unique(labels[known]):
        here = depth[(labels == label)]
        true = sample.depth[0, label * 10 : label * 10 + 10]
        # Nearest pixels are taken: within a label the depths are of its columns, by one factor.
        factors.append((here.min() / true[-1], here.max() / true[0]))
    low, high = max(low for low, _ in factors), min(high for _, high in factors)
    assert low <= high * (1 + 1e-5), "one factor for all of the image"
    base = math.sqrt(varied.engine.pixels / (HEIGHT * WIDTH))
    least, most = (varied.engine.fx / (s * base * FX) for s in (scales[1], scales[0]))
    assert least * (1 - 1e-5) <= high and low <= most * (1 + 1e-5)
    # Metres across the visible part, in the camera and in the canonical one.
    row = np.flatnonzero(known.any(axis=1))[0]
    columns = np.flatnonzero(known[row])
    if len(columns) < 8:
        return
    u = result["image"][2 * row, 2 * columns[[1, -2]], 0].astype(float) / 2
    metres = depth[row, columns[[1, -2]]].astype(float)
    factor = metres / (2.0 + np.round(u) / 10)
    steps = abs(2 * (columns[-2] - columns[1]))
    camera = abs(u[1] - u[0]) / FX
    canonical = steps / varied.engine.fx * np.mean(factor)
    assert abs(canonical - camera) <= 0.06 * camera + 3 / FX


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), flip=st.sampled_from([0.0, 1.0]))
def test_flipping_mirrors_and_nothing_else(seed: int, flip: float) -> None:
    sample = slanted_plane()
    result = transform(1.0, 1.0, flip, 0.0)(sample, np.random.default_rng(seed))
    row = result["depth"][np.isfinite(result["depth"]).any(axis=1)][0]
    slope = np.diff(row[np.isfinite(row)])
    assert (slope <= 0).all() if flip else (slope >= 0).all()
    unflipped = transform(1.0, 1.0, 0.0, 0.0)(sample, np.random.default_rng(seed))
    for key, values in unflipped.items():
        if key != "image":
            assert np.array_equal(result[key], values[:, ::-1] if flip else values, equal_nan=key == "depth")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), strength=st.floats(0.01, 0.5))
def test_colour_leaves_the_truth_alone(seed: int, strength: float) -> None:
    sample = slanted_plane()
    plain = transform(0.5, 2.0, 0.5, 0.0)(sample, np.random.default_rng(seed))
    coloured = transform(0.5, 2.0, 0.5, strength)(sample, np.random.default_rng(seed))
    assert np.array_equal(plain["labels"], coloured["labels"])
    assert np.array_equal(plain["depth"], coloured["depth"], equal_nan=True)
    # Brighter stays brighter.
    grey = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    assert (np.diff(vary_colour(grey, strength, np.random.default_rng(seed))[0, :, 0].astype(int)) >= 0).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.25, 4.0))
def test_the_cameras_focal_length_scales_depth(seed: int, factor: float) -> None:
    """The same picture by a camera of `factor` times the focal length shows things `factor` times as far away."""
    sample = slanted_plane()
    assert sample.depth is not None
    tele = replace(sample, fx=FX * factor, depth=(sample.depth * factor).astype(np.float32))
    varied = transform(0.5, 2.0, 0.5, 0.0)
    one, other = (varied(s, np.random.default_rng(seed))["depth"] for s in (sample, tele))
    np.testing.assert_allclose(one, other, rtol=1e-5)
