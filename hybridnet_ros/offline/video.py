"""Writes MP4 files that browsers and players play, with PyAV: OpenCV's wheels have no encoder for H.264."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TICKS = 1000
"""Ticks a second of the time stamps in the file."""


class VideoError(Exception):
    """A video cannot be written; the message says what to do."""


class VideoFile:
    """A video in H.264 that is written picture by picture; use it as a context manager.

    The file is there when it is closed, also after an interruption: with what it had got until then.
    """

    def __init__(self, path: Path) -> None:
        """Raises VideoError where it could not be written at the end."""
        try:
            import av
        except ImportError:
            raise VideoError("writing a video needs the package PyAV: pip install av") from None
        if "libx264" not in av.codecs_available:
            raise VideoError("this PyAV has no encoder for H.264 (libx264): pip install av")
        if path.suffix.lower() != ".mp4":
            raise VideoError(f"{path} is no name of an MP4 file: let it end in .mp4")
        self.frames = 0
        self._path = path
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        self._frame_from: Any = av.VideoFrame.from_ndarray
        try:
            # Its index first, so that a browser plays it while it is still loading.
            self._container = av.open(str(self._temporary), "w", options={"movflags": "+faststart"})
        except OSError as error:
            raise VideoError(f"cannot write {path}: {error.strerror or error}") from None
        self._stream: Any | None = None
        self._start_ns = 0
        self._tick = -1

    def add(self, rgb: NDArray[np.uint8], stamp_ns: int) -> None:
        """Add a picture uint8 [H, W, 3] with even sides, all of one size, to be shown at its time after the first.

        Raises:
            VideoError: the picture has another size than the first, or the disk is full.
        """
        stream = self._stream or self._begin(rgb, stamp_ns)
        if rgb.shape[:2] != (stream.height, stream.width):
            raise VideoError(
                f"the images change their size from {stream.width}x{stream.height} to {rgb.shape[1]}x{rgb.shape[0]}, "
                "which a video cannot: name one topic"
            )
        frame = self._frame_from(np.ascontiguousarray(rgb), format="rgb24")
        # Stamps that stand still or go back, as where a bag was recorded in a loop, are shown a tick later.
        self._tick = max(self._tick + 1, round((stamp_ns - self._start_ns) * _TICKS / 1e9))
        frame.pts, frame.time_base = self._tick, Fraction(1, _TICKS)
        self._mux(stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Complete the file; without a picture there is none."""
        if self._stream is not None:
            self._mux(self._stream.encode(None))
        self._container.close()
        if self._stream is not None:
            os.replace(self._temporary, self._path)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _begin(self, rgb: NDArray[np.uint8], stamp_ns: int) -> Any:
        stream: Any = self._container.add_stream("libx264", rate=30)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuv420p"  # the only one that every browser plays
        stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.options = {"crf": "20", "preset": "veryfast"}
        self._stream, self._start_ns = stream, stamp_ns
        return stream

    def _mux(self, packets: Any) -> None:
        try:
            self._container.mux(packets)
        except OSError as error:
            raise VideoError(f"cannot write {self._path}: {error.strerror or error}") from None
