"""Finding the GPU and TensorRT, on machines that have neither, one, or something broken."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import hybridnet_ros
from hybridnet_ros.engine.errors import TensorRTError
from hybridnet_ros.engine.tensorrt_module import Gpu, NoGpuError, find_gpu, load_tensorrt, read_gpu


def driver(count: int = 1, **status: int) -> SimpleNamespace:
    """The calls of a driver library with `count` GPUs; a call named in `status` answers that."""

    def write(pointer: object, value: int) -> None:
        pointer._obj.value = value  # what ctypes.byref points at

    def name(buffer: ctypes.Array, size: int, device: object) -> None:
        buffer.value = b"Orin"

    calls = {
        "cuInit": lambda flags: None,
        "cuDeviceGetCount": lambda pointer: write(pointer, count),
        "cuDeviceGet": lambda pointer, ordinal: write(pointer, ordinal),
        "cuDeviceGetName": name,
        "cuDeviceTotalMem_v2": lambda pointer, device: write(pointer, 8 << 30),
        "cuDeviceGetAttribute": lambda pointer, attribute, device: write(pointer, {75: 8, 76: 7}[attribute]),
        "cuDriverGetVersion": lambda pointer: write(pointer, 12060),
    }

    def answering(call: str):
        return lambda *arguments: calls[call](*arguments) or status.get(call, 0)

    return SimpleNamespace(**{call: answering(call) for call in calls})


def test_a_gpu_is_read_from_the_driver() -> None:
    assert read_gpu(driver()) == Gpu("Orin", "8.7", 8 << 30, "12.6")


def test_without_a_driver_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoGpuError, match="no NVIDIA driver on this machine .*--gpus all"):
        find_gpu(str(tmp_path / "libcuda.so.1"))
    with pytest.raises(NoGpuError, match="no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"):
        read_gpu(driver(count=0))
    with pytest.raises(NoGpuError, match=r"does not work \(cuInit returned 999\)"):
        read_gpu(driver(cuInit=999))


def test_without_a_gpu_only_tensorrt_rtx_is_loaded() -> None:
    trt = load_tensorrt(None)
    assert trt.flavour == "tensorrt_rtx" and trt.is_rtx and trt.gpu is None
    assert trt.product == f"TensorRT-RTX {trt.version}"
    with pytest.raises(TensorRTError, match="TensorRT is not tried without an NVIDIA GPU: install TensorRT"):
        load_tensorrt(None, ("tensorrt",))


def test_the_message_says_what_cannot_be_imported_and_how_to_get_it() -> None:
    """In an interpreter of its own, where neither is installed."""
    code = """
import sys
sys.modules["tensorrt"] = sys.modules["tensorrt_rtx"] = None  # how Python marks a module that cannot be imported
from hybridnet_ros.engine.tensorrt_module import Gpu, TensorRTError, load_tensorrt
try:
    load_tensorrt(Gpu("Orin", "8.7", 1, "12.6"))
except TensorRTError as error:
    print(error)
"""
    root = str(Path(hybridnet_ros.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith("TensorRT cannot be imported (") and "; TensorRT-RTX cannot be imported (" in done.stdout
    )
    assert "pip install tensorrt (on a Jetson it comes with JetPack)" in done.stdout


def test_features_are_looked_up() -> None:
    trt = load_tensorrt(None)
    assert trt.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED") and trt.has("IBuilderConfig.progress_monitor")
    assert not trt.has("BuilderFlag.FP16") and not trt.has("NoSuchThing.at_all")
    assert trt.get("ILogger.ERROR") == trt.module.ILogger.ERROR


def test_what_tensorrt_logs_ends_in_the_exception() -> None:
    trt = load_tensorrt(None)
    trt.logger.clear()
    builder = trt.module.Builder(trt.logger)
    network = builder.create_network(0)
    assert not trt.module.OnnxParser(network, trt.logger).parse(b"no network")
    message = str(trt.error("reading failed"))
    assert message.startswith("reading failed: ") and "Failed to parse the ONNX model" in message
    assert str(trt.error("again")) == f"again: {trt.product} gives no reason"
    for number in range(100):
        trt.logger.log(trt.module.ILogger.WARNING, f"warning {number}")
        trt.logger.log(trt.module.ILogger.INFO, "chatter")
    assert trt.logger.warnings[-1] == "warning 99" and len(trt.logger.warnings) == 20 and not trt.logger.errors
    trt.logger.clear()
