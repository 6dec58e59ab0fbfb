"""Predictions of a tiny real engine, whose answers are known: values, sizes, focal length, and bad input."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from hybridnet_ros.engine import EngineError, open_engine
from tiny import TINY_FX, TINY_HEIGHT, TINY_WIDTH, tiny_manifest, tiny_network, write_tiny_engine

ROAD, CAR, SKY = range(3)
AT_NETWORK_SIZE = (1, TINY_HEIGHT, TINY_WIDTH, 3)

sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))
brightnesses = st.integers(0, 255).filter(lambda brightness: brightness not in (85, 170))  # where two classes are equal


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with open_engine(write_tiny_engine(tmp_path_factory.mktemp("engine")), runtime="onnx_cpu", threads=1) as engine:
        yield engine


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def assert_equal(first, second):
    for name in ("depth", "labels", "confidence"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)


@settings(max_examples=30)
@given(size=sizes, count=st.integers(1, 3), brightness=brightnesses)
def test_any_size_goes_in_and_the_same_size_comes_out(engine, size, count, brightness):
    width, height = size
    prediction = engine.predict(np.full((count, height, width, 3), brightness, np.uint8))
    for array, dtype in (
        (prediction.depth, np.float32),
        (prediction.labels, np.uint8),
        (prediction.confidence, np.uint8),
    ):
        assert array.shape == (count, height, width) and array.dtype == dtype
        assert array.flags.c_contiguous and array.flags.writeable
    np.testing.assert_allclose(prediction.depth, 1 + 99 * brightness / 255, rtol=1e-4)
    assert (prediction.labels == min(brightness * 3 // 255, 2)).all()


def test_what_is_seen_is_where_it_was_in_the_image(engine):
    image = np.zeros((1, 375, 1242, 3), np.uint8)
    image[:, :, 621:] = 255
    image[:, 188:] = 128
    prediction = engine.predict(image)
    for rows, columns, label, depth in (
        (slice(0, 150), slice(0, 580), ROAD, 1.0),
        (slice(0, 150), slice(660, None), SKY, 100.0),
        (slice(230, None), slice(None), CAR, 1 + 99 * 128 / 255),
    ):
        assert (prediction.labels[0, rows, columns] == label).all()
        np.testing.assert_allclose(prediction.depth[0, rows, columns], depth, rtol=1e-4)
    top = prediction.labels[0, 0]
    assert abs(int(np.argmax(top == SKY)) - 621) <= 10, "the border is where it was, to a network pixel"


def test_confidence_is_low_where_classes_meet(engine):
    assert engine.predict(np.full(AT_NETWORK_SIZE, 85, np.uint8)).confidence.max() <= 130
    assert engine.predict(np.full(AT_NETWORK_SIZE, 128, np.uint8)).confidence.min() >= 250


@settings(max_examples=30)
@given(size=sizes, fx=st.floats(1, 1e5))
def test_depth_grows_with_the_focal_length_of_the_resized_image(engine, size, fx):
    width, height = size
    image = np.full((1, height, width, 3), 100, np.uint8)
    network_width, _ = engine.network_size(width, height)
    expected = engine.predict(image).depth * (fx * network_width / width / TINY_FX)
    np.testing.assert_allclose(engine.predict(image, fx).depth, expected, rtol=1e-5)


def test_depth_at_the_training_focal_length_is_the_networks_own(engine):
    assert_equal(engine.predict(noise(*AT_NETWORK_SIZE), TINY_FX), engine.predict(noise(*AT_NETWORK_SIZE)))


def test_a_batch_is_the_same_as_its_images_one_by_one_each_with_its_own_fx(engine):
    images = noise(3, 120, 200, 3)
    batch = engine.predict(images, [100.0, 200.0, 300.0])
    for number, fx in enumerate((100.0, 200.0, 300.0)):
        alone = engine.predict(images[number : number + 1], fx)
        np.testing.assert_array_equal(batch.depth[number], alone.depth[0])
        np.testing.assert_array_equal(batch.labels[number], alone.labels[0])
        np.testing.assert_array_equal(batch.confidence[number], alone.confidence[0])


@pytest.mark.parametrize("fx", [100, np.float32(100), np.array([100.0, 100.0]), (100, 100)], ids=repr)
def test_fx_may_be_any_number_or_one_for_each_image(engine, fx):
    assert_equal(engine.predict(noise(2, 50, 60, 3), fx), engine.predict(noise(2, 50, 60, 3), 100.0))


@pytest.mark.parametrize("size", [(TINY_HEIGHT, TINY_WIDTH), (120, 200)])
def test_images_need_not_be_contiguous_or_writable(engine, size):
    padded = noise(1, size[0], size[1] + 7, 4)
    view = padded[:, :, : size[1], :3]
    bytes_of_a_message = np.frombuffer(view.tobytes(), np.uint8).reshape(view.shape)
    expected = engine.predict(view.copy())
    for images in (view, bytes_of_a_message, view[..., ::-1].copy()[..., ::-1], view[:, ::-1].copy()[:, ::-1]):
        assert_equal(engine.predict(images), expected)


@pytest.mark.parametrize("size", [(TINY_HEIGHT, TINY_WIDTH), (120, 200)])
def test_a_prediction_is_the_callers_own(engine, size):
    images = noise(1, *size, 3)
    kept = images.copy()
    first = engine.predict(images)
    copy = type(first)(first.depth.copy(), first.labels.copy(), first.confidence.copy())
    second = engine.predict(255 - images)
    assert_equal(first, copy)
    second.depth[:] = 0
    np.testing.assert_array_equal(images, kept)


def test_several_threads_may_predict_at_once(engine):
    images = [noise(1, 100 + number, 150, 3) for number in range(8)]
    alone = [engine.predict(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for prediction, expected in zip(pool.map(engine.predict, images * 3), alone * 3, strict=True):
            assert_equal(prediction, expected)


@given(sizes.map(lambda size: (size[0] * 8, size[1] * 8)))
def test_the_network_size_keeps_shape_and_area_and_never_enlarges(engine, size):
    spec = engine.manifest.input
    network = engine.network_size(*size)
    for side, network_side in zip(size, network, strict=True):
        assert network_side % spec.multiple == 0
        assert spec.multiple <= network_side <= math.ceil(side / spec.multiple) * spec.multiple
    shrink = min(1.0, math.sqrt(spec.pixels / (size[0] * size[1])))
    for side, network_side in zip(size, network, strict=True):
        assert abs(network_side - side * shrink) < spec.multiple


@pytest.mark.parametrize(
    ("camera", "network"),
    [((1242, 375), (640, 192)), ((640, 480), (384, 288)), ((1920, 1080), (448, 256)), ((320, 240), (320, 256))],
)
def test_network_sizes_of_common_cameras(tmp_path, camera, network):
    path = write_tiny_engine(tmp_path)
    manifest = tiny_manifest(path).to_dict()
    manifest["input"] = {"height": 192, "width": 640, "multiple": 32, "pixels": 640 * 192}
    type(tiny_manifest(path)).from_dict(manifest).save(path.with_suffix(".json"))
    with open_engine(path, runtime="onnx_cpu", threads=1) as engine:
        assert engine.network_size(*camera) == network


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (noise(1, 64, 96, 3).astype(np.float32), r"must be uint8 \[N, H, W, 3\], got float32 \[1, 64, 96, 3\]"),
        (noise(1, 64, 96, 3).astype(np.uint16), "got uint16"),
        (noise(64, 96, 3), r"must be \[N, H, W, 3\] rgb, got \[64, 96, 3\]: give one image as image\[np.newaxis\]"),
        (noise(1, 64, 96, 4), r"got \[1, 64, 96, 4\]"),
        (noise(1, 3, 64, 96), r"got \[1, 3, 64, 96\]"),
        (noise(0, 64, 96, 3), r"must not be empty, got \[0, 64, 96, 3\]"),
        (noise(1, 0, 96, 3), r"must not be empty, got \[1, 0, 96, 3\]"),
        (noise(1, 64, 0, 3), r"must not be empty, got \[1, 64, 0, 3\]"),
        (noise(1, 64, 96, 3).tolist(), "must be a NumPy array uint8 .*, got list"),
        (None, "got NoneType"),
    ],
    ids=[
        "float32",
        "uint16",
        "no batch",
        "four channels",
        "planar",
        "no image",
        "no rows",
        "no columns",
        "list",
        "none",
    ],
)
def test_bad_images_are_refused_with_the_remedy(engine, images, reason):
    with pytest.raises(EngineError, match=reason):
        engine.predict(images)


@pytest.mark.parametrize(
    ("fx", "reason"),
    [
        (0.0, r"fx must be positive and finite, in px; got 0\.0: calibrate the camera"),
        (-700.0, "must be positive"),
        (math.nan, "must be positive"),
        (math.inf, "must be positive"),
        ([500.0, 0.0], "must be positive"),
        ([500.0], "fx has 1 values for 2 images"),
        ([[500.0, 500.0]], r"must be a number of px, or one for each image; got \[\[500"),
        ("wide", "must be a number of px, or one for each image; got 'wide'"),
        ([None, 500.0], "must be"),
    ],
    ids=repr,
)
def test_a_bad_fx_is_refused(engine, fx, reason):
    with pytest.raises(EngineError, match=reason):
        engine.predict(noise(2, 64, 96, 3), fx)


def test_a_refused_image_does_no_harm(engine):
    expected = engine.predict(noise(1, 50, 60, 3))
    with pytest.raises(EngineError):
        engine.predict(noise(1, 0, 60, 3))
    assert_equal(engine.predict(noise(1, 50, 60, 3)), expected)


def test_a_closed_engine_says_so(tmp_path):
    engine = open_engine(write_tiny_engine(tmp_path), runtime="onnx_cpu", threads=1)
    with engine:
        engine.predict(noise(*AT_NETWORK_SIZE))
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed: open it again with open_engine"):
        engine.predict(noise(*AT_NETWORK_SIZE))


def test_a_network_that_answers_at_another_size_is_refused(tmp_path):
    network = tiny_network()
    [pool] = [node for node in network.graph.node if node.op_type == "AveragePool"]
    pool.attribute.append(helper.make_attribute("strides", [2, 2]))
    path = tmp_path / "half.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    with (
        open_engine(path, runtime="onnx_cpu", threads=1) as engine,
        pytest.raises(EngineError, match=r"the network answered \[1, 32, 48\] to images \[1, 64, 96, 3\]"),
    ):
        engine.predict(noise(*AT_NETWORK_SIZE))


def test_what_the_runtime_says_when_it_fails_is_passed_on(tmp_path, capfd):
    network = tiny_network()
    network.graph.node[-1].output[0] = "depth_before"
    # Looks up the image's sides in a table of one row: nothing is wrong with that until there is an image.
    network.graph.node.extend(
        [
            helper.make_node("Shape", ["image"], ["sides"]),
            helper.make_node("Gather", ["depth_bias", "sides"], ["looked_up"]),
            helper.make_node("ReduceMax", ["looked_up"], ["one_number"], keepdims=0),
            helper.make_node("Mul", ["depth_before", "one_number"], ["depth"]),
        ]
    )
    path = tmp_path / "failing.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    with (
        open_engine(path, runtime="onnx_cpu", threads=1) as engine,
        pytest.raises(EngineError, match=r"ONNX Runtime failed on images \[1, 64, 96, 3\]: .*Gather"),
    ):
        engine.predict(noise(*AT_NETWORK_SIZE))
    assert capfd.readouterr() == ("", "")
