"""Whatever is drawn, a sample's metres stay true: checked on scenes whose geometry is known."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridnet_ros.scene.resize import resize_images
from training.config import load_config
from training.data.sample import IGNORE, Sample
from training.data.transforms import GREY, TrainingTransform, Turn, View, vary_colour

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


@settings(max_examples=60)
@given(scale=st.floats(0.3, 3.0), seed=st.integers(0, 2**32 - 1), flip=st.sampled_from([0.0, 1.0]))
def test_a_resized_image_keeps_its_metres(scale: float, seed: int, flip: float) -> None:
    """Resized by s, an image has s times the focal length, which the canonical camera sees as nearer by as much."""
    varied = transform(scale, scale, flip, 0.0)
    resized = scale * math.sqrt(varied.engine.pixels / (HEIGHT * WIDTH))
    sample = slanted_plane()
    result = varied(sample, np.random.default_rng(seed))
    labels, depth = result["labels"], result["depth"]
    known = labels != IGNORE
    assert known.any() and np.array_equal(known, np.isfinite(depth))
    # Depth belongs to the column that the label tells, by one factor for the whole image.
    column = (depth[known] / (varied.engine.fx / (resized * FX)) - 2) * 10
    first = labels[known].astype(float) * 10
    assert (column > first - 0.01).all() and (column < first + 9.01).all()
    # Where all of the image is in view: as many metres across, X = u * Z / fx, as the camera itself sees there.
    if resized * WIDTH <= varied.data.crop[1] and resized * HEIGHT <= varied.data.crop[0]:
        pixels = 2 * known.any(axis=0).sum()
        across = pixels * (varied.engine.fx / (resized * FX)) / varied.engine.fx
        assert abs(across - WIDTH / FX) <= 2.51 / (resized * FX)  # cells of two pixels, whole sizes


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
@given(degrees=st.floats(-45, 45))
def test_a_rolled_camera_sees_what_it_saw_turned(degrees: float) -> None:
    """What lies at the angle a from the middle of the image lies at a + roll."""
    image = View((WIDTH, HEIGHT), Turn(roll=degrees), FX, (HEIGHT, WIDTH), (0, 0)).image(slanted_plane().image)
    y, x = np.nonzero(image[..., 0] != GREY)
    angle = np.deg2rad(degrees)
    column = np.cos(angle) * (x - (WIDTH - 1) / 2) - np.sin(angle) * (y - (HEIGHT - 1) / 2) + (WIDTH - 1) / 2
    inside = (column > 1) & (column < WIDTH - 2) & (np.abs(image[y, x, 0] - 127.0) > 20)
    assert np.median(np.abs(image[y, x, 0] - 2 * column)[inside]) < 1


@settings(max_examples=60)
@given(
    turn=st.builds(Turn, *[st.floats(-30, 30)] * 3),
    normal=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    scale=st.floats(0.5, 2.0),
)
def test_a_turned_camera_measures_along_its_own_axis(turn: Turn, normal: tuple[float, float], scale: float) -> None:
    """A plane at 2 m along its normal has the depth 2 / (normal . ray) for any camera at the same place."""
    size = (round(WIDTH * scale), round(HEIGHT * scale))
    upright = np.array([*normal, 1.0]) / np.linalg.norm([*normal, 1.0])

    def plane(width: int, height: int, focal_length: float, towards: np.ndarray) -> np.ndarray:
        rows, columns = np.mgrid[:height, :width]
        across, down = (columns - (width - 1) / 2) / focal_length, (rows - (height - 1) / 2) / focal_length
        return np.asarray(2 / (towards[0] * across + towards[1] * down + towards[2]), np.float32)

    view = View(size, turn, FX * scale, (size[1] // 2 * 2, size[0] // 2 * 2), (0, 0))
    # Fine, so that the nearest of its pixels is near.
    seen = view.depth(plane(WIDTH * 8, HEIGHT * 8, FX * 8, upright))
    right = plane(size[0], size[1], FX * scale, turn.matrix() @ upright)
    right = (right[0:-1:2, 0:-1:2] + right[1::2, 1::2])[: seen.shape[0], : seen.shape[1]] / 2
    known = np.isfinite(seen)
    assert known.any() and np.allclose(seen[known], right[known], rtol=0.03)


def test_which_way_a_camera_turns() -> None:
    """To the right and upwards: what was there comes to the middle; clockwise: what was on the right comes up."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    across, down = 20, 12  # px
    image[HEIGHT // 2 - down - 2 : HEIGHT // 2 - down + 2, WIDTH // 2 + across - 2 : WIDTH // 2 + across + 2] = 0
    yaw, pitch = math.degrees(math.atan(across / FX)), math.degrees(math.atan(down / math.hypot(across, FX)))
    for turn, (x, y) in ((Turn(pitch=pitch, yaw=yaw), (0, 0)), (Turn(roll=90), (-down, -across))):
        seen = View((WIDTH, HEIGHT), turn, FX, (HEIGHT, WIDTH), (0, 0)).image(image)
        rows, columns = np.nonzero(seen[..., 0] < 60)
        assert abs(rows.mean() + 0.5 - HEIGHT / 2 - y) < 1 and abs(columns.mean() + 0.5 - WIDTH / 2 - x) < 1


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize("turn", [Turn(), Turn(roll=20.0), Turn(pitch=15.0, yaw=15.0)], ids=["no_turn", "roll", "pan"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_targets_lie_where_the_image_shows_them(axis: int, turn: Turn, flip: float) -> None:
    """Image and depth both say in which row or column of the sample a pixel was, the image between pixels, too."""
    along = np.indices((HEIGHT, WIDTH))[axis]
    image = np.repeat((along * 2)[..., np.newaxis], 3, axis=2).astype(np.uint8)
    sample = Sample("ramp", image, FX, along.astype(np.uint8), (2.0 + along / 10).astype(np.float32))
    plain = transform(0.5, 2.0, flip, 0.0)
    varied = TrainingTransform(plain.data.model_copy(update=turn._asdict()), plain.engine)
    off = []
    for seed in range(60):
        drawn = varied(sample, np.random.default_rng(seed))
        labels, shown = drawn["labels"], drawn["image"][..., 0].astype(float)
        cells = (shown[::2, ::2] + shown[1::2, ::2] + shown[::2, 1::2] + shown[1::2, 1::2]) / 8
        # Away from the borders, beside which the image holds still or is mixed with the padding.
        inside = (labels > 3) & (labels < (HEIGHT, WIDTH)[axis] - 4) & (np.abs(cells * 2 - GREY) > 12)
        inside &= cv2.erode((labels != IGNORE).astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
        if inside.any():
            off.append(np.mean(labels[inside] - cells[inside]))
    # Pixels of the sample; what is nearest may be up to half a pixel off, at random.
    assert len(off) > 30 and abs(np.mean(off)) < 0.08 and np.abs(off).max() < 0.6


def test_what_is_learnt_is_in_the_image() -> None:
    """An image smaller than the crop is not cut by its own frame before it is rolled."""
    plain = transform(0.4, 0.9, 0.5, 0.0)
    varied = TrainingTransform(plain.data.model_copy(update={"roll": 20.0}), plain.engine)
    white = Sample("white", np.full((HEIGHT, WIDTH, 3), 255, np.uint8), FX, np.zeros((HEIGHT, WIDTH), np.uint8))
    for seed in range(40):
        drawn = varied(white, np.random.default_rng(seed))
        known = np.repeat(np.repeat(drawn["labels"] != IGNORE, 2, axis=0), 2, axis=1)
        # Along the border a cell may be known by its middle alone, and the image is mixed with the padding.
        inside = cv2.erode(known.astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
        assert inside.any() and (drawn["image"][inside] == 255).all()
        assert (drawn["image"][cv2.dilate(known.astype(np.uint8), np.ones((5, 5))) == 0] == GREY).all()


def test_an_unrolled_image_is_as_sharp_as_an_engine_sees_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT * 3, WIDTH * 3, 3), np.uint8)
    for width, height in ((WIDTH * 2, HEIGHT * 2), (WIDTH, HEIGHT), (50, 33)):
        seen = resize_images(image[None], width, height)[0].astype(int)
        shown = View((width, height), Turn(), FX, (height, width), (0, 0)).image(image).astype(int)
        # OpenCV's warp knows 32 places between two pixels.
        assert np.abs(seen - shown)[1:-1, 1:-1].mean() < 2


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_rolled_draw_keeps_targets_together(seed: int) -> None:
    plain = transform(1.0, 1.0, 0.5, 0.0)
    rolling = TrainingTransform(plain.data.model_copy(update={"roll": 20.0}), plain.engine)
    drawn = rolling(slanted_plane(), np.random.default_rng(seed))
    known = drawn["labels"] != IGNORE
    assert np.array_equal(known, np.isfinite(drawn["depth"])) and known.any()
    factor = rolling.engine.fx / (math.sqrt(rolling.engine.pixels / (HEIGHT * WIDTH)) * FX)
    column = (drawn["depth"][known] / factor - 2) * 10
    first = drawn["labels"][known].astype(float) * 10
    assert (column > first - 0.01).all() and (column < first + 9.01).all()


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
