"""Colour conversion by cv_bridge, where it is installed and fit for this process."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_log = logging.getLogger("hybridnet")


@cache
def cv_bridge_converter(encoding: str, dtype: np.dtype, channels: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """What turns pixels [H, W, channels] of `encoding` into rgb8 by cv_bridge; None where cv_bridge cannot.

    It is tried once on a tiny image: older releases do not know yuv422_yuy2.
    """
    if not cv_bridge_is_usable():
        return None
    from cv_bridge import CvBridge

    bridge = CvBridge()

    def convert(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(bridge.imgmsg_to_cv2(_packed(pixels, encoding), "rgb8"))

    try:
        convert(np.zeros((2, 2, channels), dtype))
    except (ImportError, RuntimeError, TypeError) as error:
        _log.warning("cv_bridge cannot convert '%s' (%s); OpenCV does it instead", encoding, error)
        return None
    return convert


@cache
def cv_bridge_is_usable() -> bool:
    """Whether cv_bridge is installed, and built for the NumPy of this process.

    The binaries of Humble and Jazzy are built for NumPy 1. Beside a NumPy 2 from pip they import, and the first
    conversion ends the process by a segmentation fault. So the file is looked into before it is imported: only what is
    built for NumPy 2, and runs with both, names `numpy._core`.
    """
    package = importlib.util.find_spec("cv_bridge")
    if package is None or not package.submodule_search_locations:
        return False
    if int(np.__version__.split(".")[0]) < 2:
        return True
    for folder in package.submodule_search_locations:
        for extension in Path(folder).glob("boost/cv_bridge_boost*"):
            if b"numpy._core" in extension.read_bytes():
                return True
    _log.warning(
        "cv_bridge is built for NumPy 1 and would crash with NumPy %s: OpenCV converts the images instead. "
        "To use cv_bridge, install 'numpy<2'",
        np.__version__,
    )
    return False


def _packed(pixels: np.ndarray, encoding: str) -> SimpleNamespace:
    """`pixels` as an Image message that cv_bridge reads rightly.

    It shears rows whose padding is no whole number of pixels and cannot swap bytes under NumPy 2, hence packed rows in
    native order.
    """
    packed = np.ascontiguousarray(pixels)
    return SimpleNamespace(
        height=packed.shape[0],
        width=packed.shape[1],
        encoding=encoding,
        is_bigendian=sys.byteorder == "big",
        step=packed.strides[0],
        data=packed,
    )
