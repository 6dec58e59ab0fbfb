"""Renders a page, and turns pictures and colours into text that can stand in it."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.scene.colors import colorize_depth

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80, 160)
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class DepthKey:
    """What the colours of depth pictures mean.

    Attributes:
        bar: all colours from near to far, as a data URI.
        ticks: (metres, where on the bar in percent).
        special: (meaning, colour) of what is not a depth.
    """

    bar: str
    ticks: tuple[tuple[str, float], ...]
    special: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A picture on a page, as the macro `picture_row` shows it.

    Attributes:
        source: a data URI.
        width, height: px that it takes before it has loaded; its shape counts.
        caption: below it.
        alt: what stands for it where it cannot be seen.
        name: which column it is put in: `depth` and `labels` have their own; empty for the next free one.
    """

    source: str
    width: int
    height: int
    caption: str
    alt: str
    name: str = ""


def render(path: Path, folder: Path, template: str, **values: Any) -> None:
    """Write the page of a `template` in `folder` to `path`, whole or not at all; OSError if that cannot be done."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(template).render(**values)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def depth_key(shown: tuple[float, float]) -> DepthKey:
    """The key to pictures coloured from the one to the other depth in metres."""
    near, far = shown
    depth = np.geomspace(near, far, 512, dtype=np.float32)[np.newaxis]
    values = np.array([[np.inf, -np.inf, np.nan]], np.float32)
    names = ("beyond range, sky", "too near", "no estimate")
    return DepthKey(
        bar=encode(colorize_depth(depth, near, far), ".png"),
        # Equal ratios are equally long.
        ticks=tuple(
            (f"{tick:g}", round(100 * math.log(tick / near) / math.log(far / near), 2))
            for tick in _TICKS
            if near <= tick <= far
        ),
        special=tuple((name, css(color)) for name, color in zip(names, colorize_depth(values)[0], strict=True)),
    )


def encode(rgb: NDArray[np.uint8], suffix: str = ".jpg") -> str:
    """A picture uint8 [H, W, 3] as a data URI; `.jpg` or `.png`."""
    kind, options = {".jpg": ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]), ".png": ("png", [])}[suffix]
    encoded = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1]
    return data_uri(encoded.tobytes(), kind)


def data_uri(encoded: bytes, kind: str = "jpeg") -> str:
    """An encoded picture as the address of an `img`."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def css(color: Sequence[int] | NDArray[np.uint8]) -> str:
    """(red, green, blue) as `#rrggbb`."""
    return "#" + "".join(f"{int(value):02x}" for value in color)
