"""Finds TensorRT or TensorRT-RTX, and the GPU, without touching either before it is safe to.

    trt = load_tensorrt(find_gpu())
    builder = trt.module.Builder(trt.logger)

The only file that imports `tensorrt` or `tensorrt_rtx`. Versions differ in what they have: ask
`trt.has("BuilderFlag.FP16")`, or take `trt.get(...)`, which is None where a name is missing; never guess from the
version. Every name that is used without asking must be in all versions: test_tensorrt_names.py checks that.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from hybridnet_ros.engine.errors import TensorRTError

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt_rtx"
FLAVOURS = (TENSORRT, TENSORRT_RTX)

_PRODUCTS = {TENSORRT: "TensorRT", TENSORRT_RTX: "TensorRT-RTX"}
_KEPT_MESSAGES = 20
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute

_log = logging.getLogger("hybridnet")


class NoGpuError(TensorRTError):
    """There is no NVIDIA GPU, or no driver that works."""


@dataclass(frozen=True)
class Gpu:
    """The NVIDIA GPU that CUDA puts first.

    Attributes:
        name: as the driver calls it.
        compute_capability: for instance "8.7".
        memory: bytes.
        driver: the newest CUDA version that the driver can run, for instance "13.0".
    """

    name: str
    compute_capability: str
    memory: int
    driver: str


def find_gpu(library: str = "libcuda.so.1") -> Gpu:
    """The GPU to work on; asks the driver alone, so nothing else needs to be installed.

    Raises:
        NoGpuError: there is no driver, it does not start, or it has no GPU.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        raise NoGpuError(
            f"no NVIDIA driver on this machine ({error}): install one, or in a container start it with --gpus all"
        ) from None
    return read_gpu(cuda)


def read_gpu(cuda: Any) -> Gpu:
    """The first GPU of a loaded driver library; raises NoGpuError."""

    def call(name: str, *arguments: Any) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise NoGpuError(f"the NVIDIA driver does not work ({name} returned {status}): check it with nvidia-smi")

    count, device, driver, major, minor = (ctypes.c_int() for _ in range(5))
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    call("cuInit", 0)
    call("cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise NoGpuError("the NVIDIA driver has no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES")
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
    call("cuDriverGetVersion", ctypes.byref(driver))
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major.value}.{minor.value}",
        memory=memory.value,
        driver=f"{driver.value // 1000}.{driver.value % 1000 // 10}",
    )


def load_tensorrt(gpu: Gpu | None, flavours: Sequence[str] = FLAVOURS) -> TensorRT:
    """The first of `flavours` that is installed and can be used.

    Args:
        gpu: what `find_gpu` found. Without one only TensorRT-RTX can be used, and only to build: TensorRT's own
            libraries crash the process where there is no driver, so they are not loaded then.
        flavours: which products to look for, the best first.

    Raises:
        TensorRTError: none is installed, or what is installed needs a GPU.
    """
    reasons = []
    for flavour in flavours:
        if flavour == TENSORRT and gpu is None:
            reasons.append("TensorRT is not tried without an NVIDIA GPU")
            continue
        try:
            module = _import(flavour)
        except (ImportError, OSError) as error:
            reasons.append(f"{_PRODUCTS[flavour]} cannot be imported ({error})")
            continue
        return TensorRT(flavour, module, gpu)
    raise TensorRTError(
        f"{'; '.join(reasons)}: install TensorRT with pip install tensorrt (on a Jetson it comes with JetPack), "
        "or TensorRT-RTX with pip install tensorrt-rtx-cu13"
    )


@lru_cache(maxsize=len(FLAVOURS))
def _import(flavour: str) -> Any:
    return importlib.import_module(flavour)


class TensorRT:
    """A TensorRT that was found.

    Attributes:
        flavour: "tensorrt" or "tensorrt_rtx".
        module: the Python module.
        version: of the module, in full.
        gpu: the GPU it would work on; None where it can only build.
    """

    def __init__(self, flavour: str, module: Any, gpu: Gpu | None) -> None:
        self.flavour, self.module, self.gpu = flavour, module, gpu
        self.version: str = module.__version__

    @property
    def product(self) -> str:
        """Name and version for people."""
        return f"{_PRODUCTS[self.flavour]} {self.version}"

    @property
    def is_rtx(self) -> bool:
        """Is it TensorRT-RTX, which builds portable plans without a GPU and finishes them when they are loaded."""
        return self.flavour == TENSORRT_RTX

    @property
    def system(self) -> str:
        """The operating system and processor that plans are made for, for instance "linux-x86_64"."""
        return f"{platform.system().lower()}-{platform.machine()}"

    @cached_property
    def logger(self) -> Any:
        """The one logger of the process, an ILogger with `errors`, `warnings` and `clear()`; see `logger_class`."""
        return _logger(self.flavour)

    def get(self, name: str) -> Any:
        """What the module has under a dotted name like "BuilderFlag.FP16", or None."""
        thing = self.module
        for part in name.split("."):
            thing = getattr(thing, part, None)
            if thing is None:
                return None
        return thing

    def has(self, name: str) -> bool:
        """Does the module have the dotted name, for instance "IBuilderConfig.progress_monitor"?"""
        return self.get(name) is not None

    def error(self, what: str) -> TensorRTError:
        """An exception that says `what` failed and everything that TensorRT logged as an error since the last one."""
        logged = [_first_line(message) for message in self.logger.errors]
        self.logger.clear()
        return TensorRTError(f"{what}: {'; '.join(logged) or f'{self.product} gives no reason'}")


@lru_cache(maxsize=len(FLAVOURS))
def _logger(flavour: str) -> Any:
    """TensorRT keeps the first logger that it is given, so there is one."""
    return logger_class(_import(flavour))()


def logger_class(module: Any) -> type:
    """A class of loggers that keep errors and warnings for exceptions; everything goes to our log at debug level."""

    class Logger(module.ILogger):  # type: ignore[name-defined,misc]
        """Keeps the latest messages: `errors` (also what TensorRT calls internal errors) and `warnings`."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)  # pybind11 does not allow super() here
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, level: Any, message: str) -> None:
            """Called by TensorRT, from any thread; an exception must not get back to it."""
            kept = None
            if level in (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR):
                kept = self.errors
            elif level == module.ILogger.WARNING:
                kept = self.warnings
            if kept is not None:
                kept.append(message)
                del kept[:-_KEPT_MESSAGES]
            _log.debug("%s: %s", module.__name__, message)

        def clear(self) -> None:
            """Forget what was logged so far."""
            self.errors.clear()
            self.warnings.clear()

    return Logger


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or [""])[0]
