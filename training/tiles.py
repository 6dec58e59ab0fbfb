"""An image seen in tiles, as the paper evaluates: cut by a grid, each tile predicted by itself, and put back together.

The paper cuts Cityscapes' 2048x1024 px into 18 tiles, 6 beside each other and 3 below. A tile is for the engine an
image like any other: seen at up to the engine's own number of pixels and never enlarged, its depth scaled by the focal
length. Nothing is blended: every pixel is what one tile says.
"""

import re
from argparse import ArgumentTypeError
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine, Prediction


class Grid(NamedTuple):
    """So many tiles beside each other and below each other."""

    columns: int
    rows: int

    def __str__(self) -> str:
        """COLUMNSxROWS."""
        return f"{self.columns}x{self.rows}"


WHOLE, PAPER = Grid(1, 1), Grid(6, 3)


def read_grid(text: str) -> Grid:
    """A command line's COLUMNSxROWS as a grid; anything else is refused in its way."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no grid: write COLUMNSxROWS, e.g. {PAPER}")
    return Grid(int(match[1]), int(match[2]))


def predict(engine: Engine, image: NDArray[np.uint8], fx: float, grid: Grid = WHOLE) -> Prediction:
    """What `engine` sees in one image uint8 [H, W, 3] with a focal length of `fx` px, tile by tile; arrays [1, H, W].

    Tiles are of one size, rounded up, so neighbours share a pixel where the grid does not divide the image; it is the
    later tile's.
    """
    if grid == WHOLE:
        return engine.predict(image[np.newaxis], fx)
    height, width = image.shape[:2]
    tops, tile_height = _cuts(height, grid.rows)
    lefts, tile_width = _cuts(width, grid.columns)
    corners = [(top, left) for top in tops for left in lefts]
    tiles = np.stack([image[top : top + tile_height, left : left + tile_width] for top, left in corners])
    seen = engine.predict(tiles, fx)
    whole = Prediction(
        np.empty((1, height, width), np.float32),
        np.empty((1, height, width), np.uint8),
        np.empty((1, height, width), np.uint8),
    )
    for number, (top, left) in enumerate(corners):
        place = 0, slice(top, top + tile_height), slice(left, left + tile_width)
        whole.depth[place], whole.labels[place] = seen.depth[number], seen.labels[number]
        whole.confidence[place] = seen.confidence[number]
    return whole


def _cuts(length: int, parts: int) -> tuple[list[int], int]:
    """Where `parts` equal pieces of `length` px begin, the last ending with the image, and how long they are."""
    parts = min(parts, length)
    piece = -(-length // parts)
    return [int(start) for start in np.linspace(0, length - piece, parts).round()], piece
