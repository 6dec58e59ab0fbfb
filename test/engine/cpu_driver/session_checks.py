"""Checks of TensorRTSession on the stand-in driver; run by test_tensorrt_session.py in a process of its own.

All is real but the driver and TensorRT: cuda-python, the source of the kernels, every size, address and order of work.
"""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest
import stand_in
from onnx import TensorProto, helper

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.engine.cuda import Cuda, CudaError
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.tensorrt_engine import TensorRTSession
from tiny import TINY_FX, TINY_HEIGHT, TINY_WIDTH, tiny_manifest, tiny_network, write_tiny_engine

OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700
CAMERAS = [(96, 64), (97, 63), (1242, 375), (640, 480), (1920, 1080), (60, 50), (1, 1), (200, 3)]


@pytest.fixture
def path(tmp_path):
    return write_tiny_engine(tmp_path)


@pytest.fixture
def reference(path):
    with open_engine(path, runtime="onnx_cpu", threads=1) as engine:
        yield engine


def engine_on_gpu(path, reference, cameras=CAMERAS, batch=3):
    trt = stand_in.tensorrt()
    sizes = dict.fromkeys(reference.network_size(*camera) for camera in cameras)
    return Engine(reference.manifest, TensorRTSession(trt, stand_in.plan(path, trt, sizes, batch)))


def picture(width, height, count=1):
    """Noise and flat parts: what rounds and what does not."""
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    images[:, : height // 2] = 40
    images[:, :, width // 2 :] //= 2
    return images


def assert_same(on_gpu, on_cpu, scale=1.0):
    # Images differ by one step of 255 at most on their way to the network, which is 99 m / 255 of depth here, times
    # what the focal length makes of it; and it turns a label or a confidence over where two classes are nearly equal.
    for name in ("depth", "labels", "confidence"):
        ours, theirs = getattr(on_gpu, name), getattr(on_cpu, name)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert ours.flags.owndata and ours.flags.c_contiguous
    np.testing.assert_allclose(on_gpu.depth, on_cpu.depth, rtol=1e-5, atol=100 / 255 * scale)
    assert (on_gpu.labels != on_cpu.labels).mean() < 0.02
    assert (np.abs(on_gpu.confidence.astype(int) - on_cpu.confidence) > 40).mean() < 0.02


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("count", [1, 3])
def test_answers_are_those_of_the_cpu(path, reference, camera, count):
    images = picture(*camera, count)
    focal_lengths = [100.0, 200.0, 300.0][:count]
    scale = max(focal_lengths) / TINY_FX * reference.network_size(*camera)[0] / camera[0]
    with engine_on_gpu(path, reference) as engine:
        for _ in range(2):
            assert_same(engine.predict(images, focal_lengths), reference.predict(images, focal_lengths), scale)


@pytest.mark.parametrize("camera", [(96, 64), (960, 640)])
def test_where_nothing_is_rounded_answers_are_equal_to_the_bit_but_for_depth(path, reference, camera):
    images = np.full((1, camera[1], camera[0], 3), 130, np.uint8)
    images[:, :, camera[0] // 2 :] = 20
    with engine_on_gpu(path, reference, [camera]) as engine:
        ours, theirs = engine.predict(images, TINY_FX), reference.predict(images, TINY_FX)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_array_equal(ours.confidence, theirs.confidence)
    np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-5)


def test_sizes_and_counts_change_from_call_to_call(path, reference):
    wanted = [(camera, count) for count in (1, 2) for camera in CAMERAS[:4]]
    with engine_on_gpu(path, reference) as engine:
        for camera, count in wanted + wanted[::-1] + wanted:
            images = picture(*camera, count)
            assert_same(engine.predict(images), reference.predict(images))


def test_a_size_that_was_seen_before_is_not_prepared_again(path, reference):
    with engine_on_gpu(path, reference) as engine:
        for _ in range(3):
            for camera in CAMERAS[:4]:
                engine.predict(picture(*camera))
        assert len(stand_in.Context.made) == 4


def test_each_size_uses_its_own_optimisation_profile(path, reference):
    with engine_on_gpu(path, reference, [(96, 64), (1242, 375)]) as engine:
        for camera in ((96, 64), (1242, 375)):
            engine.predict(picture(*camera))
    assert [context.profile for context in stand_in.Context.made] == [0, 1]


def test_more_images_than_the_plan_takes_go_in_parts(path, reference):
    images = picture(60, 50, 5)
    focal_lengths = [30.0, 35.0, 40.0, 45.0, 50.0]
    with engine_on_gpu(path, reference, batch=2) as engine:
        assert_same(engine.predict(images, focal_lengths), reference.predict(images, focal_lengths))


def test_predictions_are_the_callers_own(path, reference):
    with engine_on_gpu(path, reference) as engine:
        first = engine.predict(picture(60, 50))
        kept = first.depth.copy()
        engine.predict(255 - picture(60, 50))
        np.testing.assert_array_equal(first.depth, kept)
    np.testing.assert_array_equal(first.depth, kept)


def test_views_of_images_are_taken_as_they_are(path, reference):
    images = picture(60, 50)[:, ::-1, ::-1]
    with engine_on_gpu(path, reference) as engine:
        assert_same(engine.predict(images), reference.predict(images))


def test_threads_take_turns(path, reference):
    answers = {}
    with engine_on_gpu(path, reference) as engine:

        def predict(number, camera):
            answers[number] = camera, [engine.predict(picture(*camera)) for _ in range(3)]

        threads = [threading.Thread(target=predict, args=each) for each in enumerate(CAMERAS[:4])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 4
    for camera, predictions in answers.values():
        for prediction in predictions:
            assert_same(prediction, reference.predict(picture(*camera)))


def test_a_size_the_plan_was_not_built_for_is_refused_with_the_command(path, reference):
    with (
        engine_on_gpu(path, reference, [(96, 64)], batch=1) as engine,
        pytest.raises(EngineError) as refused,
    ):
        engine.predict(picture(1242, 375))
    assert str(refused.value) == (
        "the plan takes 96x64, batch 1 at network size, images of 1242x375 need 128x32: "
        f"run hybridnet build-engine {path} --precision fp32 --size 96x64 --size 1242x375 --batch 1"
    )


def test_without_a_graph_it_goes_on_and_says_so(path, reference, caplog):
    stand_in.fail("cuGraphInstantiate", 1)
    with engine_on_gpu(path, reference) as engine:
        for _ in range(2):
            assert_same(engine.predict(picture(60, 50)), reference.predict(picture(60, 50)))
    [line] = caplog.messages
    assert line.startswith("no CUDA graph for 1 images of 60x50, so each takes longer: the GPU's driver failed")


def test_out_of_gpu_memory_is_said_and_the_next_smaller_call_works(path, reference):
    with engine_on_gpu(path, reference) as engine:
        engine.predict(picture(60, 50))
        stand_in.fail("cuMemAlloc", OUT_OF_MEMORY, skip=3)
        with pytest.raises(CudaError, match=r"out of memory \(cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY\); free some"):
            engine.predict(picture(640, 480))
        stand_in.fail()
        assert_same(engine.predict(picture(640, 480)), reference.predict(picture(640, 480)))


def test_out_of_gpu_memory_in_tensorrt_is_said(path, reference):
    with engine_on_gpu(path, reference) as engine:
        stand_in.Context.none_left = True
        with pytest.raises(EngineError, match=r"no room on the GPU for images \[1, 64, 96, 3\].*out of memory"):
            engine.predict(picture(96, 64))


def test_a_network_that_fails_is_reported_and_can_be_tried_again(path, reference):
    with engine_on_gpu(path, reference) as engine:
        stand_in.Context.broken = True
        with pytest.raises(EngineError, match="failed to run the network: IExecutionContext::enqueueV3"):
            engine.predict(picture(96, 64))
        stand_in.Context.broken = False
        assert_same(engine.predict(picture(96, 64)), reference.predict(picture(96, 64)))


def test_a_lost_gpu_is_reported_with_the_only_remedy(path, reference):
    with engine_on_gpu(path, reference) as engine:
        engine.predict(picture(96, 64))
        stand_in.fail("cuGraphLaunch", ILLEGAL_ADDRESS)
        with pytest.raises(EngineError, match="the GPU is lost to this process: start it again"):
            engine.predict(picture(96, 64))
        stand_in.fail()
        assert_same(engine.predict(picture(96, 64)), reference.predict(picture(96, 64)))


@pytest.mark.parametrize("call", ["cuInit", "cuDevicePrimaryCtxRetain"])
def test_a_gpu_that_does_not_start_is_reported(call, path, reference):
    trt = stand_in.tensorrt()
    stand_in.fail(call, 999)
    with pytest.raises(CudaError, match=f"went wrong \\({call}: CUDA_ERROR_UNKNOWN\\)"):
        TensorRTSession(trt, stand_in.plan(path, trt, [(96, 64)]))


@pytest.mark.parametrize("call", ["cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate"])
def test_nothing_is_left_when_opening_fails(call, path):
    trt = stand_in.tensorrt()
    stand_in.fail(call, 221)
    with pytest.raises(CudaError, match=r"libnvidia-ptxjitcompiler\.so is missing"):
        TensorRTSession(trt, stand_in.plan(path, trt, [(96, 64)]))


def test_a_plan_that_tensorrt_refuses(path):
    trt = stand_in.tensorrt()
    plan = stand_in.plan(path, trt, [(96, 64)])
    object.__setattr__(plan, "data", b"short")
    with pytest.raises(EngineError, match=r"cannot load .*tiny\.plan \(run hybridnet build-engine .*Serialization"):
        TensorRTSession(trt, plan)


def test_a_plan_with_other_outputs_is_refused(tmp_path):
    network = tiny_network()
    network.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT
    network.graph.node[-2].attribute[0].i = TensorProto.FLOAT
    [cast] = [node for node in network.graph.node if node.output[0] == "labels"]
    cast.CopyFrom(helper.make_node("Cast", ["winner"], ["labels"], to=TensorProto.FLOAT))
    path = tmp_path / "other.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    trt = stand_in.tensorrt()
    with pytest.raises(EngineError, match=r"other\.plan is no HybridNet engine"):
        TensorRTSession(trt, stand_in.plan(path, trt, [(TINY_WIDTH, TINY_HEIGHT)]))


def test_memory_is_given_back_block_by_block():
    cuda = Cuda()
    memory, other = cuda.memory(), cuda.memory()
    memory.device(10), memory.pinned((2, 3), np.float32), other.device(20)
    assert (stand_in.counts()["device"], stand_in.counts()["pinned"]) == (2, 1)
    memory.close()
    assert (stand_in.counts()["device"], stand_in.counts()["pinned"]) == (1, 0)
    other.close()
    cuda.close()
