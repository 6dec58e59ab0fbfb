"""The runtime tensorrt without a plan: the node answers at once, builds one beside itself, and goes over to it.

The plan is built for real, by TensorRT-RTX, which needs no GPU for that. Where there is no GPU the node then says that
it cannot use it, and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.tensorrt_module import find_gpu
from ros_testing import NodeProcess, Robot, gray, wait_until

LONG_S = 300.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def has_gpu() -> bool:
    try:
        find_gpu()
    except EngineError:
        return False
    return True


def test_the_node_answers_while_the_plan_is_built(
    start_node: Callable[..., NodeProcess], make_robot: Callable[..., Robot], engine: Path, cache: Path
) -> None:
    node = start_node("/building", engine=engine, runtime="tensorrt", diagnostics_period=0.1)
    camera = make_robot("/building")
    camera.listen(Image, "depth/image")
    camera.ready(info=False)

    def answered() -> bool:
        return camera.answer(camera.send(gray(0.25)).header) is not None

    assert answered()
    node.says("building a TensorRT plan in the background, as by: hybridnet build-engine")
    seen = []

    def built() -> bool:
        assert answered()
        seen.append(camera.values().get("engine build", ""))
        time.sleep(0.1)  # the build, of low priority, needs the processor too
        return "built the TensorRT plan" in node.log()

    wait_until(built, "the plan", LONG_S)
    assert any(text.startswith("TensorRT plan for 192x128: ") for text in seen)
    assert list(cache.glob("plans/*.plan"))
    if has_gpu():
        wait_until(lambda: answered() and "on TensorRT" in camera.values()["runtime"], "the plan at work")
    else:
        node.says("the plan that was built cannot be used")
        node.says("no TensorRT: no NVIDIA GPU")
        assert answered() and "on ONNX Runtime" in camera.values()["runtime"]
    assert "engine build" not in camera.values()
    assert node.stop() == 0
    assert "Traceback" not in node.log()


def test_a_node_that_must_not_build_refuses_without_a_plan(
    start_node: Callable[..., NodeProcess], engine: Path
) -> None:
    node = start_node("/strict", engine=engine, runtime="tensorrt", build_engine=False)
    node.says("cannot configure: runtime tensorrt: ")
    assert node.stop() == 0


def test_a_node_that_stops_gives_the_build_up(
    start_node: Callable[..., NodeProcess], make_robot: Callable[..., Robot], engine: Path, cache: Path
) -> None:
    node = start_node("/stopping", engine=engine, runtime="tensorrt")
    camera = make_robot("/stopping")
    camera.listen(Image, "depth/image")
    camera.ready(info=False)
    camera.answer(camera.send(gray(0.25)).header)
    node.says("building a TensorRT plan in the background")
    assert node.stop() == 0
    assert "Traceback" not in node.log()
