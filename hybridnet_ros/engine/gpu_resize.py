"""Resizing on the GPU as scene/resize.py does it on the CPU: images to the network's size, its answers back.

What has to be mixed into each pixel, with which weights, is worked out here once for each pair of sizes, in tables; the
kernels of resize.cu only apply them. They are shipped as PTX, which the driver compiles: no CUDA toolkit is needed.
Labels and confidence equal those of the CPU; depth does to the rounding of float32, and images to one step of 255.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.cuda import Cuda, Memory
from hybridnet_ros.scene.resize import whole_step

PTX = Path(__file__).with_name("resize.ptx")

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


@dataclass(frozen=True)
class Taps:
    """One axis of `resize_images`: pixel i is the mean of those from `first[i]` on, weighted with `weights[i]`.

    Attributes:
        first: int32 [length].
        weights: float32 [length, taps]; each row adds up to 1.
    """

    first: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Ways:
    """One axis of `resize_maps`: pixel i lies between the two of `pair[i]`, and is nearest to `nearest[i]`.

    Attributes:
        pair: int32 [length, 2].
        weights: float32 [length, 2], of the two; each row adds up to 1.
        nearest: int32 [length].
    """

    pair: NDArray[np.int32]
    weights: NDArray[np.float32]
    nearest: NDArray[np.int32]


def taps(length: int, step: int, target: int) -> Taps:
    """Of an axis of images whose `length` px are averaged to `step` px, and those interpolated to `target` px."""
    pair, weights = _between(step, target)
    # Pixel j of `step` averages what lies between edges[j] and edges[j + 1] of the `length` px.
    edges = np.arange(step + 1) * (length / step)
    first = np.floor(edges[pair[:, 0]] + 1e-6).astype(np.int32)
    count = int(np.max(np.ceil(edges[pair[:, 1] + 1] - 1e-6) - first))
    first = np.minimum(first, length - count)
    pixel = first[:, np.newaxis] + np.arange(count)
    shares = np.zeros((target, count))
    for side in (0, 1):
        begin, end = edges[pair[:, side], np.newaxis], edges[pair[:, side] + 1, np.newaxis]
        inside = np.clip(np.minimum(end, pixel + 1) - np.maximum(begin, pixel), 0, None)
        shares += weights[:, side, np.newaxis] * inside / (end - begin)
    return Taps(first, shares.astype(np.float32))


def ways(length: int, target: int) -> Ways:
    """Of an axis of the network's answers, `length` px, that become `target` px."""
    pair, weights = _between(length, target)
    numbers = np.arange(length, dtype=np.int32)[np.newaxis]
    nearest = cv2.resize(numbers, (target, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0]
    return Ways(pair, weights.astype(np.float32), nearest.astype(np.int32))


def _between(length: int, target: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Between which two of `length` px each of `target` px lies, and the weights of both, [target, 2]."""
    centre = np.clip((np.arange(target) + 0.5) * (length / target) - 0.5, 0, length - 1)
    left = np.floor(centre).astype(np.int32)
    part = centre - left
    return np.stack([left, np.minimum(left + 1, length - 1)], 1), np.stack([1 - part, part], 1)


class GpuResize:
    """The kernels, loaded; `plan` fits them to sizes."""

    def __init__(self, cuda: Cuda) -> None:
        """Raises CudaError if the driver cannot compile them."""
        self._cuda = cuda
        self._images, self._maps = cuda.kernels(PTX.read_bytes(), ["resize_images", "resize_maps"])

    def images(
        self, memory: Memory, count: int, camera: tuple[int, int], network: tuple[int, int], source: int, target: int
    ) -> Callable[[], None]:
        """What resizes uint8 [count, height, width, 3] from the camera's (width, height) to the network's."""
        columns, rows = (
            taps(length, step, size)
            for length, step, size in zip(camera, whole_step(camera, network), network, strict=True)
        )
        arguments = [
            (source, _POINTER), *_sizes(camera), (target, _POINTER), *_sizes(network),
            *self._tap_arguments(memory, columns), *self._tap_arguments(memory, rows),
        ]  # fmt: skip
        return lambda: self._cuda.start(self._images, (*network, count), arguments)

    def maps(
        self,
        memory: Memory,
        count: int,
        camera: tuple[int, int],
        network: tuple[int, int],
        sources: Sequence[int],
        targets: Sequence[int],
        scales: int,
    ) -> Callable[[], None]:
        """What resizes depth, labels and confidence [count, height, width] back; depth is multiplied by `scales`."""
        arguments = [
            *((source, _POINTER) for source in sources), *_sizes(network),
            *((target, _POINTER) for target in targets), *_sizes(camera), (scales, _POINTER),
        ]  # fmt: skip
        for length, target in zip(network, camera, strict=True):
            axis = ways(length, target)
            arguments += [(self._table(memory, table), _POINTER) for table in (axis.pair, axis.weights, axis.nearest)]
        return lambda: self._cuda.start(self._maps, (*camera, count), arguments)

    def _tap_arguments(self, memory: Memory, axis: Taps) -> list[tuple[Any, Any]]:
        first, weights = self._table(memory, axis.first), self._table(memory, axis.weights)
        return [(first, _POINTER), (weights, _POINTER), (axis.weights.shape[1], _INT)]

    def _table(self, memory: Memory, table: NDArray) -> int:
        """The address of a copy of `table` on the GPU."""
        table = np.ascontiguousarray(table)
        address = memory.device(table.nbytes)
        self._cuda.upload(address, table)
        self._cuda.wait()  # the copy reads `table`, which ends here
        return address


def _sizes(size: tuple[int, int]) -> list[tuple[int, Any]]:
    return [(side, _INT) for side in size]
