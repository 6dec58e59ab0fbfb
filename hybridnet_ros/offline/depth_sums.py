"""Adds the terms of depth errors up by group of pixels: distance bands and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.offline.figures import DepthFigures
from hybridnet_ros.offline.plain import known
from hybridnet_ros.scene.metrics import DEPTH_TERMS, depth_figures


@dataclass
class DepthSums:
    """Sums of DEPTH_TERMS of groups of pixels: float64 [groups, 8], with their pixels and missing pixels int64."""

    sums: NDArray[np.float64]
    pixels: NDArray[np.int64]
    missing: NDArray[np.int64]

    @classmethod
    def zeros(cls, groups: int) -> DepthSums:
        """Nothing yet."""
        return cls(np.zeros((groups, len(DEPTH_TERMS))), np.zeros(groups, np.int64), np.zeros(groups, np.int64))

    def add(self, other: DepthSums) -> None:
        """Adds another's."""
        self.sums += other.sums
        self.pixels += other.pixels
        self.missing += other.missing

    def figures(self, group: int) -> DepthFigures:
        """The measures of one group."""
        pixels = int(self.pixels[group])
        values = depth_figures(self.sums[group], pixels)
        plain = {name: known(value) for name, value in values.items()}
        scale = math.exp(self.sums[group, DEPTH_TERMS.index("log")] / pixels) if pixels else None
        return DepthFigures(**plain, scale=scale, pixels=pixels, missing=int(self.missing[group]))


def added_up(terms: NDArray[np.float64], cells: NDArray[np.uint16], count: int) -> NDArray[np.float64]:
    """Terms [8, pixels] added up in each of `count` cells: float64 [8, count]."""
    order = np.argsort(cells, kind="stable")  # of 16 bit: in linear time
    pixels = np.bincount(cells, minlength=count)
    filled = np.flatnonzero(pixels)
    added = np.zeros((len(terms), count))
    if filled.size:
        added[:, filled] = np.add.reduceat(terms[:, order], (np.cumsum(pixels) - pixels)[filled], axis=1)
    return added


def band_numbers(distance: NDArray[np.floating], edges: Sequence[float]) -> NDArray[np.uint8]:
    """Uint8, which band each distance is in: band b goes from edges[b] (exclusive) to edges[b + 1] (inclusive).

    What is in none, too near, too far or NaN, has the number of bands.
    """
    above = np.zeros(distance.shape, np.uint8)
    with np.errstate(invalid="ignore"):
        for edge in edges:
            above += distance > edge
    above -= np.uint8(1)  # the nearest becomes 255
    return np.minimum(above, np.uint8(len(edges) - 1))
