"""Runs a TensorRT plan on the GPU, from the camera's picture to depth and labels at its size.

    session = TensorRTSession(trt, plan)
    depth, labels, confidence = session.predict(images, network_size, scales)

A picture is copied into memory that the GPU reads itself, and from there on everything is one recorded piece of work:
copy to the GPU, resize, network, resize back, copy from it. Nothing in it is overlapped: every step needs all of the
one before, and the node answers each picture as soon as it can, with no other queued behind it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.cuda import Cuda, Graph, Memory
from hybridnet_ros.engine.errors import EngineError, TensorRTError, UnknownSizeError
from hybridnet_ros.engine.gpu_resize import GpuResize
from hybridnet_ros.engine.plan_manifest import Size
from hybridnet_ros.engine.plans import Plan
from hybridnet_ros.engine.session import Maps
from hybridnet_ros.engine.tensorrt_module import TensorRT

_MOST_ROADS = 4  # each has its own memory for the network's intermediate results

_log = logging.getLogger("hybridnet")


class TensorRTSession:
    """A network in TensorRT; threads that use it at the same time wait for each other.

    Attributes:
        runtime: "tensorrt".
        description: what runs it where, for people.
    """

    def __init__(self, trt: TensorRT, plan: Plan) -> None:
        """Loads a plan, which must have been built for this GPU and TensorRT (see `plans.find_plan`).

        Raises:
            EngineError: the plan is refused or does not fit into the GPU's memory; says why.
        """
        assert trt.gpu is not None, "find_gpu comes first"
        key = plan.manifest.key
        self.runtime = "tensorrt"
        self.description = f"{trt.product}, {key.precision}, {trt.gpu.name} (plan {plan.path.name})"
        self._lock = threading.Lock()
        self._manifest = plan.manifest
        self._roads: OrderedDict[tuple[int, Size, Size], _Road] = OrderedDict()
        self._cuda = Cuda()
        try:
            self._resize = GpuResize(self._cuda)
            self._network = Network(trt, plan)
        except BaseException:
            self._cuda.close()
            raise

    def predict(self, images: NDArray[np.uint8], network_size: Size, scales: NDArray[np.float32]) -> Maps:
        """See `Session.predict`; the network size must be one that the plan was built for."""
        count, height, width, _ = images.shape
        self._refuse_unknown_size((width, height), network_size)
        most = self._manifest.key.profile.batch
        if count > most:
            parts = [
                self.predict(images[first : first + most], network_size, scales[first : first + most])
                for first in range(0, count, most)
            ]
            depth, labels, confidence = (np.concatenate(maps) for maps in zip(*parts, strict=True))
            return depth, labels, confidence
        with self._lock:
            self._cuda.use()
            key = count, (width, height), network_size
            try:
                return self._road(*key).run(images, scales)
            except BaseException:
                # Whatever the GPU was doing is in doubt; the next call makes everything of this size anew.
                self._drop(key)
                raise

    def takes(self, network_size: Size) -> bool:
        """Was the plan built for this network size?"""
        return network_size in self._manifest.key.profile.sizes

    def close(self) -> None:
        """Frees all that is on the GPU."""
        with self._lock, contextlib.suppress(EngineError):  # a GPU that is lost has freed it already
            self._cuda.use()
            for key in list(self._roads):
                self._drop(key)
            self._network.close()
            self._cuda.close()

    def _refuse_unknown_size(self, camera: Size, network_size: Size) -> None:
        if self.takes(network_size):
            return
        key, cameras = self._manifest.key, (*self._manifest.cameras, camera)
        raise UnknownSizeError(
            f"the plan takes {key.profile} at network size, images of {camera[0]}x{camera[1]} need "
            f"{network_size[0]}x{network_size[1]}: run "
            f"{dataclasses.replace(self._manifest, cameras=cameras).command}"
        )

    def _road(self, count: int, camera: Size, network: Size) -> _Road:
        key = count, camera, network
        road = self._roads.get(key)
        if road is None:
            while len(self._roads) >= _MOST_ROADS:
                self._drop(next(iter(self._roads)))
            profile = self._manifest.key.profile.sizes.index(network)
            road = self._roads[key] = _Road(self._cuda, self._resize, self._network, profile, count, camera, network)
        self._roads.move_to_end(key)
        return road

    def _drop(self, key: tuple[int, Size, Size]) -> None:
        road = self._roads.pop(key, None)
        if road is not None:
            road.close()


class Network:
    """A plan that TensorRT has loaded."""

    def __init__(self, trt: TensorRT, plan: Plan) -> None:
        """Raises EngineError if TensorRT refuses the plan, or it has other inputs and outputs than an engine."""
        self._trt = trt
        trt.logger.clear()
        runtime = trt.module.Runtime(trt.logger)
        cuda_engine = runtime.deserialize_cuda_engine(plan.data)
        if cuda_engine is None:
            raise trt.error(f"{trt.product} cannot load {plan.path} (run {plan.manifest.command} to build it again)")
        self._runtime, self._cuda_engine = runtime, cuda_engine  # the first has to live as long as the second
        kinds = trt.module.DataType
        expected = {"image": kinds.UINT8, "depth": kinds.FLOAT, "labels": kinds.UINT8, "confidence": kinds.UINT8}
        names = [cuda_engine.get_tensor_name(index) for index in range(cuda_engine.num_io_tensors)]
        found = {name: cuda_engine.get_tensor_dtype(name) for name in names}
        if found != expected:
            raise TensorRTError(f"{plan.path} is no HybridNet engine, it has {found}: run {plan.manifest.command}")
        self._runtime_config = self._eager_config()

    def context(self, profile: int, shape: tuple[int, int, int, int], addresses: dict[str, int], stream: int) -> Any:
        """What runs the network on images of `shape` [N, H, W, 3], with inputs and outputs at `addresses`."""
        trt = self._trt
        trt.logger.clear()
        if self._runtime_config is None:
            context = self._cuda_engine.create_execution_context()
        else:
            context = self._cuda_engine.create_execution_context(self._runtime_config)
        if context is None:
            raise trt.error(f"no room on the GPU for images {list(shape)}, see nvidia-smi")
        if not context.set_optimization_profile_async(profile, stream) or not context.set_input_shape("image", shape):
            raise trt.error(f"the plan does not take images {list(shape)}")
        for name, address in addresses.items():
            answer = tuple(context.get_tensor_shape(name))
            if answer != (shape if name == "image" else shape[:3]):
                raise TensorRTError(f"the plan answers {name} {list(answer)} to images {list(shape)}: build it again")
            if not context.set_tensor_address(name, address):
                raise trt.error(f"{trt.product} refused the memory of {name}")
        return context

    def run(self, context: Any, stream: int) -> None:
        """Starts the network."""
        if not context.execute_async_v3(stream):
            raise self._trt.error(f"{self._trt.product} failed to run the network")

    def close(self) -> None:
        """Frees it; contexts come first."""
        del self._runtime_config, self._cuda_engine, self._runtime

    def _eager_config(self) -> Any:
        """TensorRT-RTX: compile kernels when a size is set; by default it does so while frames are answered."""
        eager = self._trt.get("DynamicShapesKernelSpecializationStrategy.EAGER")
        if eager is None or not self._trt.has("ICudaEngine.create_runtime_config"):
            return None
        runtime_config = self._cuda_engine.create_runtime_config()
        runtime_config.dynamic_shapes_kernel_specialization_strategy = eager
        return runtime_config


class _Road:
    """The way of `count` images of one size to the network and back: memory, TensorRT's context, recorded work."""

    def __init__(
        self, cuda: Cuda, resize: GpuResize, network: Network, profile: int, count: int, camera: Size, size: Size
    ) -> None:
        """Builds it for the camera's and the network's (width, height); raises EngineError, with everything freed."""
        self._cuda, self._network = cuda, network
        self._memory = cuda.memory()
        self._context: Any = None
        self._graph: Graph | None = None
        try:
            self._prepare(resize, profile, count, camera, size)
        except BaseException:
            self.close()
            raise

    def _prepare(self, resize: GpuResize, profile: int, count: int, camera: Size, size: Size) -> None:
        cuda, memory = self._cuda, self._memory
        outside, inside = (count, camera[1], camera[0]), (count, size[1], size[0])
        self._images, pictures = _both(memory, (*outside, 3), np.uint8)
        self._scales, scales = _both(memory, (count,), np.float32)
        self._maps, given = zip(
            *(_both(memory, outside, kind) for kind in (np.float32, np.uint8, np.uint8)), strict=True
        )
        self._uploads = [(pictures, self._images), (scales, self._scales)]
        self._downloads = list(zip(self._maps, given, strict=True))
        answers = tuple(memory.device(int(np.prod(inside)) * width) for width in (4, 1, 1))
        image = pictures
        self._before: Callable[[], None] | None = None
        if camera != size:
            image = memory.device(int(np.prod(inside)) * 3)
            self._before = resize.images(memory, count, camera, size, pictures, image)
        self._after = resize.maps(memory, count, camera, size, answers, given, scales)
        addresses = dict(zip(("image", "depth", "labels", "confidence"), (image, *answers), strict=True))
        self._context = self._network.context(profile, (*inside, 3), addresses, cuda.stream)
        self._images[...] = 0
        self._scales[...] = 1
        for _ in range(2):  # TensorRT does some of its work at the first run, which must not be recorded
            self._start()
        cuda.wait()
        try:
            self._graph = cuda.capture(self._start)
        except EngineError as error:
            _log.warning("no CUDA graph for %d images of %dx%d, so each takes longer: %s", count, *camera, error)

    def run(self, images: NDArray[np.uint8], scales: NDArray[np.float32]) -> Maps:
        """Depth, labels and confidence of `images`, in fresh memory."""
        self._images[...] = images
        self._scales[...] = scales
        if self._graph is not None:
            self._cuda.launch(self._graph)
        else:
            self._start()
        self._cuda.wait()
        depth, labels, confidence = (maps.copy() for maps in self._maps)
        return depth, labels, confidence

    def _start(self) -> None:
        for device, host in self._uploads:
            self._cuda.upload(device, host)
        if self._before is not None:
            self._before()
        self._network.run(self._context, self._cuda.stream)
        self._after()
        for host, device in self._downloads:
            self._cuda.download(host, device)

    def close(self) -> None:
        """Frees everything, once the GPU has finished with it."""
        with contextlib.suppress(EngineError):  # a lost GPU has freed it already
            self._cuda.wait()
            if self._graph is not None:
                self._graph.close()
            self._context = None
            self._memory.close()


def _both(memory: Memory, shape: tuple[int, ...], dtype: type) -> tuple[NDArray, int]:
    """An array that the GPU reads and writes itself, and the address of as much memory on the GPU."""
    host = memory.pinned(shape, dtype)
    return host, memory.device(host.nbytes)
