"""Resizing on the GPU: its tables say what scene/resize.py does, and the shipped kernels are those of the source.

The kernels themselves run in test_tensorrt_session.py.
"""

import hashlib

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hybridnet_ros.engine.gpu_resize import PTX, Taps, taps, ways
from hybridnet_ros.scene.resize import resize_depth, resize_images, resize_labels, whole_step

sides = st.integers(1, 300)
sizes = st.tuples(sides, sides)


def matrix(axis: Taps, length: int) -> np.ndarray:
    """[target, length]: the weight of each pixel in each."""
    target, count = axis.weights.shape
    assert axis.first.min() >= 0 and axis.first.max() + count <= length
    weights = np.zeros((target, length))
    for row, first in enumerate(axis.first):
        weights[row, first : first + count] = axis.weights[row]
    return weights


@settings(deadline=None, max_examples=50)
@given(camera=sizes, network=sizes)
@example(camera=(1242, 375), network=(768, 224))
@example(camera=(1920, 1080), network=(544, 288))
@example(camera=(3840, 2160), network=(544, 288))
@example(camera=(5, 1), network=(32, 64))
def test_images_are_those_of_the_cpu_to_one_step(camera, network):
    image = np.random.default_rng(0).integers(0, 256, (1, camera[1], camera[0], 3), np.uint8)
    step = whole_step(camera, network)
    columns = matrix(taps(camera[0], step[0], network[0]), camera[0])
    rows = matrix(taps(camera[1], step[1], network[1]), camera[1])
    np.testing.assert_allclose(columns.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    mixed = np.einsum("yh,hwc,xw->yxc", rows, image[0].astype(float), columns, optimize=True)
    # Two roundings of OpenCV's, one after averaging and one after interpolating, against one.
    assert np.abs(mixed - resize_images(image, *network)[0]).max() < 1.6


@settings(deadline=None, max_examples=50)
@given(network=sizes.filter(lambda size: size != (1, 1)), camera=sizes)
@example(network=(768, 224), camera=(1242, 375))
@example(network=(544, 288), camera=(3840, 2160))
def test_maps_are_those_of_the_cpu(network, camera):
    random = np.random.default_rng(0)
    depth = random.uniform(1, 80, (1, network[1], network[0])).astype(np.float32)
    labels = random.integers(0, 256, depth.shape, np.uint8)
    columns, rows = ways(network[0], camera[0]), ways(network[1], camera[1])
    np.testing.assert_array_equal(
        labels[0][rows.nearest][:, columns.nearest], resize_labels(labels, *camera)[0], strict=True
    )
    mixed = sum(
        rows.weights[:, j, None] * columns.weights[:, i] * depth[0][rows.pair[:, j]][:, columns.pair[:, i]]
        for j in (0, 1)
        for i in (0, 1)
    )
    np.testing.assert_allclose(mixed, resize_depth(depth, *camera)[0], rtol=2e-4)


def test_the_shipped_kernels_are_made_from_the_source():
    made_from = PTX.read_text().splitlines()[0].split()[-1]
    assert made_from == hashlib.sha256(PTX.with_suffix(".cu").read_bytes()).hexdigest(), "run scripts/compile_kernels"


def test_the_shipped_kernels_load_on_every_driver_since_turing():
    head = PTX.read_text().splitlines()[1:4]
    assert head == [".version 6.3", ".target sm_75", ".address_size 64"]
