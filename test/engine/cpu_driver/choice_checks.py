"""What open_engine chooses where there is a GPU, and what it says; run by test_tensorrt_session.py."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import stand_in
from onnx import numpy_helper

from hybridnet_ros.engine import EngineError, choice, gpu_report, load_manifest, open_engine
from hybridnet_ros.engine.errors import TensorRTError
from hybridnet_ros.engine.plan_manifest import PlanParity, load_plan_manifest
from hybridnet_ros.engine.plans import Plan, save_plan
from tiny import tiny_network, write_tiny_engine

PICTURE = np.full((1, 64, 96, 3), 100, np.uint8)


@pytest.fixture
def onnx(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "load_tensorrt", lambda gpu: stand_in.tensorrt())
    return write_tiny_engine(tmp_path)


def passed(gpu) -> PlanParity:
    return PlanParity(gpu.name, gpu.driver, 1, {"labels_disagreement": 0.0}, {"labels_disagreement": 0.1})


def keep_plan(onnx: Path, checked: bool = True, data: bytes | None = None, size=(96, 64), **changes) -> Plan:
    """A plan of `onnx` in the cache, whose key has `changes`."""
    trt = stand_in.tensorrt()
    plan = stand_in.plan(onnx, trt, [size])
    key = dataclasses.replace(plan.manifest.key, **changes)
    data = data or plan.data
    manifest = dataclasses.replace(
        plan.manifest,
        key=key,
        parity=passed(trt.gpu) if checked else None,
        plan_sha256=hashlib.sha256(data).hexdigest(),
        plan_bytes=len(data),
    )
    return save_plan(manifest, data)


def build(onnx: Path, size: str = "--size 96x64 ") -> str:
    return f"run hybridnet build-engine {onnx} --precision fp32 {size}--batch 1"


def test_a_right_plan_is_taken_and_one_line_says_so(onnx, caplog):
    plan = keep_plan(onnx)
    for runtime in ("auto", "tensorrt"):
        caplog.clear()
        with caplog.at_level(logging.INFO, "hybridnet"), open_engine(onnx, runtime) as engine:
            assert engine.runtime == "tensorrt"
            assert engine.predict(PICTURE).labels[0, 0, 0] == 1
        line = f"tiny (3 classes) on TensorRT 0.0.0, fp32, a CPU that stands in for a GPU (plan {plan.path.name})"
        assert caplog.messages == [f"engine tiny.onnx: {line}"]


@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_a_plan_is_opened_by_either_of_its_files(onnx, suffix):
    plan = keep_plan(onnx)
    with open_engine(plan.path.with_suffix(suffix)) as engine:
        assert engine.runtime == "tensorrt" and engine.manifest.labels.names == ("road", "car", "sky")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "0.0.1"}, "it was built by tensorrt 0.0.1, this is tensorrt 0.0.0"),
        ({"flavour": "tensorrt_rtx"}, "it was built by tensorrt_rtx 0.0.0, this is tensorrt 0.0.0"),
        ({"onnx_sha256": "0" * 64}, "it was built from another ONNX file"),
        ({"system": "linux-abacus"}, "it was built for linux-abacus, this is linux-"),
        (
            {"compute_capability": "8.7"},
            "it was built for GPUs of compute capability 8.7, this is a CPU that stands in",
        ),
    ],
)
def test_a_plan_for_something_else_is_refused_with_the_command(onnx, changes, reason):
    plan = keep_plan(onnx, **changes)
    with pytest.raises(EngineError) as refused:
        open_engine(onnx, "tensorrt")
    assert str(refused.value).startswith(f"runtime tensorrt: the plan {plan.path.name} is not for this: {reason}")
    assert str(refused.value).endswith(build(onnx))
    with pytest.raises(EngineError) as refused:
        open_engine(plan.path)
    assert str(refused.value).startswith(f"runtime tensorrt: the plan {plan.path} is not for this: {reason}")
    assert str(refused.value).endswith(build(onnx))
    with open_engine(onnx) as engine:
        assert engine.runtime == "onnx_cpu" and reason in engine.description and build(onnx) in engine.description


def test_without_a_plan_the_command_is_said(onnx):
    command = f"run hybridnet build-engine {onnx} --precision fp16 --size WIDTHxHEIGHT --batch 1"
    with pytest.raises(EngineError) as refused:
        open_engine(onnx, "tensorrt")
    assert str(refused.value) == f"runtime tensorrt: no plan was built yet: {command}"
    with open_engine(onnx) as engine:
        assert engine.description.endswith(f"; no TensorRT: no plan was built yet: {command}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda plan: plan.write_bytes(plan.read_bytes()[:-1]), r"its file has \d+ bytes in place of \d+"),
        (lambda plan: plan.write_bytes(plan.read_bytes()[:-1] + b"?"), "its file was changed"),
        (lambda plan: plan.unlink(), r"its file cannot be read \(No such file"),
        (lambda plan: plan.with_suffix(".json").write_text("{"), "is not JSON"),
    ],
)
def test_a_damaged_plan_is_refused_with_the_command(onnx, damage, reason):
    damage(keep_plan(onnx).path)
    with pytest.raises(EngineError, match=f"runtime tensorrt: .*{reason}.*run hybridnet build-engine"):
        open_engine(onnx, "tensorrt")


def test_a_plan_that_tensorrt_refuses_leaves_auto_with_onnx_runtime(onnx):
    keep_plan(onnx, data=b"short")
    trt = stand_in.tensorrt()
    with open_engine(onnx) as engine:
        assert engine.runtime == "onnx_cpu" and "Serialization assertion failed" in engine.description
    assert trt.logger.errors == []


def test_auto_runs_other_sizes_in_onnx_runtime_and_says_so_once(onnx, caplog):
    keep_plan(onnx)
    wide = np.full((1, 375, 1242, 3), 100, np.uint8)
    with open_engine(onnx) as engine:
        assert engine.runtime == "tensorrt"
        caplog.clear()
        for _ in range(2):
            assert engine.predict(wide).labels.shape == (1, 375, 1242)
            assert engine.predict(PICTURE).labels.shape == (1, 64, 96)
    [line] = caplog.messages
    assert line.startswith("tiny.onnx also runs on ONNX Runtime ") and line.endswith(
        build(onnx, "--size 96x64 --size 1242x375 ")
    )
    with open_engine(onnx, "tensorrt") as engine, pytest.raises(EngineError, match="the plan takes 96x64"):
        engine.predict(wide)


@pytest.mark.parametrize("runtime", ["auto", "tensorrt"])
def test_every_plan_of_the_cache_counts(onnx, caplog, runtime):
    plans = [keep_plan(onnx), keep_plan(onnx, size=(128, 32))]
    with caplog.at_level(logging.INFO, "hybridnet"), open_engine(onnx, runtime) as engine:
        for _ in range(2):
            engine.predict(np.full((1, 375, 1242, 3), 100, np.uint8))
            engine.predict(PICTURE)
        assert engine.takes(1242, 375) and engine.takes(96, 64) and not engine.takes(300, 300)
    assert len(caplog.messages) == 2
    assert {plan.path.name in "".join(caplog.messages) for plan in plans} == {True}


def test_info_says_what_there_is_and_which_plans_are_right(onnx, monkeypatch):
    monkeypatch.setattr(gpu_report, "load_tensorrt", lambda gpu: stand_in.tensorrt())
    assert list(gpu_report.describe_gpu()) == [
        "GPU a CPU that stands in for a GPU, compute capability 8.0, 1.0 GiB, driver for CUDA 12.4",
        "TensorRT 0.0.0",
        "cuda-python installed",
    ]
    manifest = load_manifest(onnx.with_suffix(".json"))
    assert list(gpu_report.describe_plans(manifest))[0].endswith(": none")
    plans = {
        keep_plan(onnx).path.name: "valid here",
        keep_plan(onnx, checked=False, size=(32, 32)).path.name: "valid here once it has passed its parity gate: its",
        keep_plan(onnx, version="0.0.1").path.name: "not for this machine: it was built by tensorrt 0.0.1, this is",
    }
    lines = list(gpu_report.describe_plans(manifest))
    assert lines[0].endswith(": 3")
    for name, validity in plans.items():
        [index] = [index for index, line in enumerate(lines) if name in line]
        assert lines[index + 1].strip().startswith(validity)


def test_an_engine_in_8_bits_has_no_plans(onnx):
    manifest = load_manifest(onnx.with_suffix(".json"))
    dataclasses.replace(manifest, precision="int8").save(onnx.with_suffix(".json"))
    keep_plan(onnx)
    with open_engine(onnx) as engine:
        assert "; no TensorRT: plans are built from float32 engines, and tiny.onnx is int8: take" in engine.description


def test_without_cuda_python_the_remedy_is_said(onnx, monkeypatch):
    keep_plan(onnx)
    for name in [name for name in sys.modules if name.split(".")[0] == "cuda"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("cuda", "tensorrt_engine", "gpu_resize"):
        monkeypatch.delitem(sys.modules, f"hybridnet_ros.engine.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(EngineError, match=r"cuda-python cannot be imported \(.*\): install it with pip install"):
        open_engine(onnx, "tensorrt")
    with open_engine(onnx) as engine:
        assert "no TensorRT: cuda-python cannot be imported" in engine.description


def test_a_gpu_that_does_not_start_leaves_auto_with_onnx_runtime(onnx):
    keep_plan(onnx)
    stand_in.fail("cuStreamCreate", 2)
    with open_engine(onnx) as engine:
        assert engine.runtime == "onnx_cpu" and "out of memory (cuStreamCreate" in engine.description
    with pytest.raises(EngineError, match="runtime tensorrt: the GPU's driver failed: out of memory"):
        open_engine(onnx, "tensorrt")


def test_no_tensorrt_is_said_with_the_remedy(onnx, monkeypatch):
    def missing(gpu):
        raise TensorRTError("TensorRT cannot be imported (No module named 'tensorrt'): install it")

    monkeypatch.setattr(choice, "load_tensorrt", missing)
    with open_engine(onnx) as engine:
        assert engine.description.endswith(
            "; no TensorRT: TensorRT cannot be imported (No module named 'tensorrt'): install it"
        )


def test_a_plan_that_was_not_checked_on_this_gpu_goes_through_its_gate_first(onnx, caplog):
    plan = keep_plan(onnx, checked=False)
    assert load_plan_manifest(plan.path.with_suffix(".json")).parity is None
    with caplog.at_level(logging.INFO, "hybridnet"), open_engine(onnx) as engine:
        assert engine.runtime == "tensorrt"
    assert "its parity was not measured yet: it was built without a GPU" in caplog.messages[0]
    measured = load_plan_manifest(plan.path.with_suffix(".json")).parity
    assert measured.gpu == stand_in.tensorrt().gpu.name and measured.images >= 8
    caplog.clear()
    with open_engine(onnx) as engine:
        assert engine.runtime == "tensorrt"
    assert not any("checking the plan" in message for message in caplog.messages)


def test_a_plan_that_fails_its_gate_is_not_used_and_not_kept(onnx):
    other = tiny_network()
    [bias] = [value for value in other.graph.initializer if value.name == "depth_bias"]
    bias.CopyFrom(numpy_helper.from_array(np.array([30.0], np.float32), "depth_bias"))
    plan = keep_plan(onnx, checked=False, data=other.SerializeToString())
    with open_engine(onnx) as engine:
        assert engine.runtime == "onnx_cpu" and "depth abs rel is " in engine.description
    assert not plan.path.exists()
