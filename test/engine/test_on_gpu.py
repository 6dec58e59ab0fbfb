"""TensorRT on a real GPU: plans are built, pass their gate, and answer as ONNX Runtime does on the CPU.

Runs where an NVIDIA GPU, TensorRT (or TensorRT-RTX) and cuda-python are; elsewhere test_tensorrt_session.py has to do.
"""

import hashlib
import logging
from dataclasses import replace

import numpy as np
import pytest

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.engine.build import build_plan
from hybridnet_ros.engine.parity import real_images
from hybridnet_ros.engine.plans import find_plan, save_plan
from hybridnet_ros.engine.tensorrt_module import find_gpu, load_tensorrt
from tiny import write_tiny_engine

CAMERAS = [(96, 64), (97, 63), (1242, 375), (1920, 1080), (60, 50)]


def why_not() -> str | None:
    """What is missing for these tests; None if nothing is."""
    try:
        load_tensorrt(find_gpu())
        import hybridnet_ros.engine.cuda  # noqa: F401
    except (EngineError, ImportError) as error:
        return str(error)
    return None


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no TensorRT on a GPU: {REASON}")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRIDNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny engine with a plan for CAMERAS, batch 3."""
    onnx = write_tiny_engine(tmp_path_factory.mktemp("engine"))
    build_plan(str(onnx), "fp32", CAMERAS, 3)
    return onnx


def picture(width: int, height: int, count: int = 1) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    images[:, : height // 2] = 40
    images[:, :, width // 2 :] //= 2
    return images


def assert_alike(ours, theirs):
    """Images differ by one step of 255 at most, and float32 sums by their order."""
    np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-3, atol=100 / 255)
    assert (ours.labels != theirs.labels).mean() < 0.02
    assert (np.abs(ours.confidence.astype(int) - theirs.confidence) > 40).mean() < 0.02


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("camera", CAMERAS)
def test_answers_are_those_of_the_cpu(tiny, camera, count):
    images = picture(*camera, count)
    with open_engine(tiny, "tensorrt") as ours, open_engine(tiny, "onnx_cpu") as theirs:
        for _ in range(3):
            assert_alike(ours.predict(images), theirs.predict(images))


def test_sizes_alternate_and_every_one_has_its_graph(tiny, caplog):
    with open_engine(tiny, "tensorrt") as ours, open_engine(tiny, "onnx_cpu") as theirs:
        for _ in range(3):
            for camera in CAMERAS:
                for count in (1, 2):
                    assert_alike(ours.predict(picture(*camera, count)), theirs.predict(picture(*camera, count)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_auto_takes_the_plan_and_onnx_runtime_for_other_sizes(tiny):
    with open_engine(tiny) as ours, open_engine(tiny, "onnx_cpu") as theirs:
        assert ours.runtime == "tensorrt"
        for camera in ((96, 64), (40, 400)):
            assert_alike(ours.predict(picture(*camera)), theirs.predict(picture(*camera)))
    with open_engine(tiny, "tensorrt") as ours, pytest.raises(EngineError, match="the plan takes .*build-engine"):
        ours.predict(picture(40, 400))


def test_memory_does_not_grow(tiny):
    from hybridnet_ros.engine.cuda import Cuda

    cuda = Cuda()
    with open_engine(tiny, "tensorrt") as engine:
        engine.predict(picture(1242, 375))
        before = cuda.free_memory()[0]
        for _ in range(300):
            engine.predict(picture(1242, 375))
        assert before - cuda.free_memory()[0] < 1 << 20
    cuda.close()


def test_engines_are_opened_and_closed_again_and_again(tiny):
    for _ in range(5):
        with open_engine(tiny, "tensorrt") as engine:
            assert engine.predict(picture(96, 64)).depth.shape == (1, 64, 96)


def test_a_full_gpu_is_reported_and_can_be_used_again(tiny):
    from hybridnet_ros.engine.cuda import Cuda, CudaError

    cuda = Cuda()
    memory = cuda.memory()
    with open_engine(tiny, "tensorrt") as engine:
        step = 1 << 30
        while step >= 1 << 16:  # all that there is, in ever smaller blocks
            try:
                memory.device(step)
            except CudaError:
                step //= 2
        with pytest.raises(EngineError, match="memory|room"):
            engine.predict(picture(1920, 1080, 3))
        memory.close()
        assert engine.predict(picture(1920, 1080, 3)).depth.shape == (3, 1080, 1920)
    cuda.close()


@pytest.mark.parametrize("damage", [lambda plan: plan[: len(plan) // 2], lambda plan: b"\x07" * len(plan)])
def test_a_plan_that_tensorrt_cannot_read_is_an_error_and_no_crash(tiny, damage):
    with open_engine(tiny, "onnx_cpu") as engine:
        found = find_plan(str(tiny), engine.manifest, load_tensorrt(find_gpu())).plan
    data = damage(found.data)
    save_plan(replace(found.manifest, plan_sha256=hashlib.sha256(data).hexdigest(), plan_bytes=len(data)), data)
    try:
        with pytest.raises(EngineError, match="cannot load .*build-engine"):
            open_engine(tiny, "tensorrt")
    finally:
        save_plan(found.manifest, found.data)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_driving_network_answers_alike_on_real_images(precision):
    images = np.stack(real_images((1242, 375)))
    build_plan("driving", precision, [(1242, 375)], 1)
    with open_engine("driving", "tensorrt") as ours, open_engine("driving", "onnx_cpu") as theirs:
        assert precision in ours.description
        for image in images:
            on_gpu, on_cpu = ours.predict(image[np.newaxis], 721.5), theirs.predict(image[np.newaxis], 721.5)
            assert (on_gpu.labels != on_cpu.labels).mean() < 0.02
            assert np.mean(np.abs(on_gpu.depth - on_cpu.depth) / on_cpu.depth) < 0.01
