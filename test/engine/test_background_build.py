"""A plan built in a process of its own by TensorRT-RTX, which needs no GPU: progress, result, stop, failures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.engine.background_build import BackgroundBuild, Order
from hybridnet_ros.engine.errors import BuildCancelled, PlanError
from hybridnet_ros.engine.gpu_report import describe_plans
from hybridnet_ros.engine.plan_manifest import load_plan_manifest
from tiny import write_tiny_engine

CAMERAS = ((96, 64),)
LONG_S = 120


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def has_ended(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"  # nobody may be there to bury it
    except OSError:
        return True


def wait_until(condition):
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_plan_comes_and_is_refused_where_there_is_no_gpu(tmp_path):
    onnx = write_tiny_engine(tmp_path)
    done = []
    build = BackgroundBuild(Order(str(onnx), ((200, 100),), "fp32", 2), done.append)
    plan = build.wait()
    assert build.done() and [one.result() for one in done] == [plan]
    described = load_plan_manifest(plan.with_suffix(".json"))
    assert described.cameras == ((200, 100),) and described.key.profile.batch == 2
    assert build.progress().phase != "starting"
    with pytest.raises(EngineError, match="runtime tensorrt: no NVIDIA driver on this machine"):
        open_engine(onnx, "tensorrt")
    with pytest.raises(EngineError, match="runtime tensorrt: no NVIDIA driver on this machine"):
        open_engine(plan)
    with open_engine(onnx) as engine:
        assert engine.description.endswith("; no TensorRT: no NVIDIA GPU")
        kept, validity = list(describe_plans(engine.manifest))[1:]
    assert plan.name in kept and "fp32, 128x64, batch 1 to 2, tensorrt_rtx" in kept
    assert validity == "    whole, and for this TensorRT; there is no GPU to use it on"


def test_what_cannot_be_built_is_said_as_on_the_command_line(tmp_path):
    with pytest.raises(PlanError, match="no engine is called 'nothing': choose one of"):
        BackgroundBuild(Order("nothing", CAMERAS)).wait()


def test_a_build_that_is_stopped_leaves_nothing(tmp_path, cache):
    onnx = write_tiny_engine(tmp_path, work=30)
    build = BackgroundBuild(Order(str(onnx), CAMERAS, "fp32"))
    wait_until(lambda: build.progress().phase != "starting" or build.done())
    build.stop()
    with pytest.raises(BuildCancelled):
        build.wait()
    assert not list(cache.glob("plans/*.plan"))


def test_a_build_that_dies_is_reported_with_the_command_that_says_more(tmp_path):
    onnx = write_tiny_engine(tmp_path, work=30)
    build = BackgroundBuild(Order(str(onnx), CAMERAS, "fp32"))
    build._process.kill()
    with pytest.raises(PlanError, match=r"was killed by signal 9.*: run hybridnet build-engine .*tiny\.onnx"):
        build.wait()


def test_a_build_ends_with_the_process_that_ordered_it(tmp_path):
    onnx = write_tiny_engine(tmp_path, work=30)
    code = (
        "import sys, time\n"
        "from hybridnet_ros.engine.background_build import BackgroundBuild, Order\n"
        "build = BackgroundBuild(Order(sys.argv[1], ((96, 64),), 'fp32'))\n"
        "print(build._process.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    folder = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code, onnx], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        child = Path("/proc", parent.stdout.readline().strip(), "stat")
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: has_ended(child))
