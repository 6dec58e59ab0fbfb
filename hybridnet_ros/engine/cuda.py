"""The GPU through its driver: memory, copies, kernels, graphs. The only file that imports cuda-python.

    cuda = Cuda()
    memory = cuda.memory()
    host, device = memory.pinned((480, 640), np.uint8), memory.device(480 * 640)
    cuda.upload(device, host)

Everything happens in the order in which it is asked for, on one stream of the GPU's primary context, in which TensorRT
works as well. Several threads may use it, one after the other; each calls `use` first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

try:
    from cuda.bindings import driver
except ImportError:  # cuda-python before 12.6
    from cuda import cuda as driver

from hybridnet_ros.engine.errors import EngineError

# cuda-python 11 gives the name without flags to the old call, which takes a log buffer.
_instantiate = getattr(driver, "cuGraphInstantiateWithFlags", driver.cuGraphInstantiate)

_NON_BLOCKING = 1  # the stream does not wait for the default stream, which other libraries in the process may use
_BLOCK = (32, 8)  # threads


class CudaError(EngineError):
    """A call of the GPU's driver failed."""


class Graph:
    """Work on the GPU that was recorded once, to be started again and again with one call."""

    def __init__(self, executable: Any) -> None:
        """Of an instantiated CUDA graph; `Cuda.capture` makes them."""
        self._executable = executable

    def launch(self, stream: Any) -> None:
        """Starts it."""
        _call("cuGraphLaunch", self._executable, stream)

    def close(self) -> None:
        """Frees it."""
        _call("cuGraphExecDestroy", self._executable)


class Memory:
    """Blocks of memory that are freed together."""

    def __init__(self) -> None:
        """No block yet; `Cuda.memory` makes it, in the thread that uses the GPU."""
        self._device: list[Any] = []
        self._pinned: list[int] = []

    def device(self, size: int) -> int:
        """The address of `size` bytes on the GPU; raises CudaError if there are not that many."""
        block = _call("cuMemAlloc", max(size, 1))
        self._device.append(block)
        return int(block)

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray:
        """An array in memory that the GPU reads and writes itself; not to be touched after `close`."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape))
        block = int(_call("cuMemHostAlloc", max(count * kind.itemsize, 1), 0))
        self._pinned.append(block)
        content: Any = (ctypes.c_ubyte * (count * kind.itemsize)).from_address(block)
        return np.frombuffer(content, kind, count).reshape(tuple(shape))

    def close(self) -> None:
        """Frees all; to be called when the GPU no longer uses it."""
        while self._device:
            _call("cuMemFree", self._device.pop())
        while self._pinned:
            _call("cuMemFreeHost", self._pinned.pop())


class Cuda:
    """The first GPU, with one stream.

    Attributes:
        stream: address of the stream, for TensorRT.
    """

    def __init__(self) -> None:
        """Raises CudaError if the GPU cannot be used; `tensorrt_module.find_gpu` says beforehand what is missing."""
        _call("cuInit", 0)
        self._device = _call("cuDeviceGet", 0)
        self._context = _call("cuDevicePrimaryCtxRetain", self._device)
        self._modules: list[Any] = []
        try:
            self.use()
            self._stream = _call("cuStreamCreate", _NON_BLOCKING)
        except CudaError:
            _call("cuDevicePrimaryCtxRelease", self._device)
            raise

    @property
    def stream(self) -> int:
        """The stream's address."""
        return int(self._stream)

    def use(self) -> None:
        """Makes the GPU the one that the calling thread talks to."""
        _call("cuCtxSetCurrent", self._context)

    def memory(self) -> Memory:
        """An empty set of blocks."""
        return Memory()

    def kernels(self, ptx: bytes, names: Sequence[str]) -> list[Any]:
        """The functions `names` of a PTX text, compiled by the driver for this GPU."""
        text = ctypes.create_string_buffer(ptx)  # with the zero at its end that the driver looks for
        module = _call("cuModuleLoadData", ctypes.addressof(text))
        self._modules.append(module)
        return [_call("cuModuleGetFunction", module, name.encode()) for name in names]

    def start(self, kernel: Any, pixels: tuple[int, int, int], arguments: Sequence[tuple[Any, Any]]) -> None:
        """Starts a kernel with one thread for each of `pixels` (x, y, z); `arguments` are (value, ctypes type)."""
        grid = (-(-pixels[0] // _BLOCK[0]), -(-pixels[1] // _BLOCK[1]), pixels[2])
        values, types = (tuple(column) for column in zip(*arguments, strict=True))
        _call("cuLaunchKernel", kernel, *grid, *_BLOCK, 1, 0, self._stream, (values, types), 0)

    def upload(self, device: int, host: NDArray) -> None:
        """Copies a contiguous array to the GPU; if it is pinned, the call does not wait for it."""
        _call("cuMemcpyHtoDAsync", device, host.ctypes.data, host.nbytes, self._stream)

    def download(self, host: NDArray, device: int) -> None:
        """Copies from the GPU into a contiguous array; if it is pinned, the call does not wait for it."""
        _call("cuMemcpyDtoHAsync", host.ctypes.data, device, host.nbytes, self._stream)

    def wait(self) -> None:
        """Waits until the GPU has done all that was asked of it; raises CudaError if any of it failed."""
        _call("cuStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records what `work` asks of the GPU, without doing it; raises what `work` raises.

        Other threads may go on using CUDA meanwhile.
        """
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call("cuStreamBeginCapture", self._stream, mode)
        try:
            work()
        except BaseException:
            # The stream has to leave its capture; it fails once more if the capture is already broken.
            _, graph = driver.cuStreamEndCapture(self._stream)
            if graph is not None and int(graph):
                driver.cuGraphDestroy(graph)
            raise
        graph = _call("cuStreamEndCapture", self._stream)
        try:
            return Graph(_check("cuGraphInstantiate", _instantiate(graph, 0)))
        finally:
            _call("cuGraphDestroy", graph)

    def launch(self, graph: Graph) -> None:
        """Starts recorded work."""
        graph.launch(self._stream)

    def free_memory(self) -> tuple[int, int]:
        """Bytes on the GPU: (free, in all)."""
        free, total = _call("cuMemGetInfo")
        return int(free), int(total)

    def close(self) -> None:
        """Gives the GPU back; whoever made `memory` frees it before."""
        for module in self._modules:
            _call("cuModuleUnload", module)
        _call("cuStreamDestroy", self._stream)
        _call("cuDevicePrimaryCtxRelease", self._device)


# After these the driver answers every call of the process with the same error.
_FATAL = (
    "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION", "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_HARDWARE_STACK_ERROR", "CUDA_ERROR_INVALID_ADDRESS_SPACE", "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ASSERT", "CUDA_ERROR_CONTEXT_IS_DESTROYED", "CUDA_ERROR_DEVICE_NOT_LICENSED",
    "CUDA_ERROR_EXTERNAL_DEVICE", "CUDA_ERROR_UNKNOWN",
)  # fmt: skip
_REMEDIES = {
    "CUDA_ERROR_OUT_OF_MEMORY": "free some: nvidia-smi lists what uses the GPU; smaller images or fewer at once need "
    "less, and the runtime onnx_cpu needs none",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND": "the driver's libnvidia-ptxjitcompiler.so is missing: install the whole "
    "driver, or in a container allow NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "update the NVIDIA driver",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the GPU is older than Turing: choose the runtime onnx_cuda or onnx_cpu",
    "CUDA_ERROR_INVALID_PTX": "the GPU is older than Turing, or resize.ptx is damaged: choose another runtime",
    **dict.fromkeys(_FATAL, "the GPU is lost to this process: start it again; nvidia-smi and dmesg may say why"),
}


def _call(name: str, *arguments: Any) -> Any:
    """What a function of the driver returns: nothing, one thing or a tuple; raises CudaError."""
    return _check(name, getattr(driver, name)(*arguments))


def _check(name: str, result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status) != 0:
        error = status.name
        _, text = driver.cuGetErrorString(status)
        message = text.decode(errors="replace") if isinstance(text, bytes) else "unknown error"
        remedy = _REMEDIES.get(error, "check the GPU with nvidia-smi")
        raise CudaError(f"the GPU's driver failed: {message} ({name}: {error}); {remedy}")
    return values[0] if len(values) == 1 else tuple(values) or None
