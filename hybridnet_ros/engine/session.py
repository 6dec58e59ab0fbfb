"""What a runtime is to an `Engine`: a `Session`. Most only run the network; a `ResizingSession` resizes on the CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.scene.resize import resize_depth, resize_images, resize_labels

Maps = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]
"""Depth (metres), labels and confidence, each [N, H, W], in memory that belongs to the caller."""


class Session(Protocol):
    """A network loaded into one runtime.

    Attributes:
        runtime: the one of RUNTIMES that it is.
        description: where it runs and why, for people.
    """

    runtime: str
    description: str

    def predict(self, images: NDArray[np.uint8], network_size: tuple[int, int], scales: NDArray[np.float32]) -> Maps:
        """What the network sees in uint8 images [N, H, W, 3], at their own size.

        Args:
            images: need not be contiguous.
            network_size: (width, height) in px at which the network is to see them.
            scales: float32 [N], by which the depth of each image is multiplied.

        Raises:
            EngineError: the runtime failed.
        """

    def takes(self, network_size: tuple[int, int]) -> bool:
        """Is it made for images at this network size?"""

    def close(self) -> None:
        """Frees what the runtime holds."""


class ResizingSession(ABC):
    """Base of sessions that only run the network: images are resized on the CPU before it and its answers after it."""

    @abstractmethod
    def run(self, images: NDArray[np.uint8]) -> Maps:
        """What the network answers to uint8 images [N, H, W, 3], contiguous and at a network size."""

    def takes(self, network_size: tuple[int, int]) -> bool:
        """Any size will do."""
        return True

    def predict(self, images: NDArray[np.uint8], network_size: tuple[int, int], scales: NDArray[np.float32]) -> Maps:
        """See `Session.predict`."""
        count, height, width, _ = images.shape
        network_width, network_height = network_size
        depth, labels, confidence = self.run(resize_images(images, network_width, network_height))
        for output in (depth, labels, confidence):
            if output.shape != (count, network_height, network_width):
                raise EngineError(
                    f"the network answered {list(output.shape)} to images {[count, network_height, network_width, 3]}: "
                    "it is no HybridNet engine; export it again with python -m training.export"
                )
        depth *= scales[:, np.newaxis, np.newaxis]
        if network_size == (width, height):
            return depth, labels, confidence
        return (
            resize_depth(depth, width, height),
            resize_labels(labels, width, height),
            resize_labels(confidence, width, height),
        )
