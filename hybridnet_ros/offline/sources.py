"""Reads the frames of a stream, each with what belongs to it: CameraInfo, references, moving transforms.

for stream in find_streams(Path("drive"), Selection()):
    with open_stream(stream) as source:
        for chunk in stream.chunks:
            for frame in source.frames(chunk):
                rgb = frame.decode()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import CameraInfos, to_rgb
from hybridnet_ros.offline.bag import Bag, open_bag
from hybridnet_ros.offline.image_files import from_bgr, image_files, read_rgb
from hybridnet_ros.offline.nearest import Nearest
from hybridnet_ros.offline.streams import Chunk, Stream
from hybridnet_ros.offline.transforms import MOVING, Joint, Movement, transforms_in

# How much later than an image its CameraInfo and its references may have been recorded, beyond the tolerance.
_LATE_NS = 1_000_000_000


class Header(NamedTuple):
    """When and in which frame an image was taken; `stamp_ns` is the time of recording where the driver set none."""

    stamp_ns: int
    frame_id: str


@dataclass(frozen=True)
class Frame:
    """One image, not yet decoded.

    Attributes:
        index: in its chunk, from 0.
        name: of its file without extension; empty in a bag.
        recorded_ns: when it was recorded; in a folder or video, 10 frames a second or the video's own times.
        header: stamp and frame.
        message_header: std_msgs/Header of the message; None without one.
        decode: gives uint8 [H, W, 3] rgb; raises MessageError.
        info: CameraInfo, None where there is none.
        references: of each reference topic asked for, the message nearest in time, if near enough.
        joints: how each joint asked for moves about that time; to be looked at before the next frame is read.
    """

    index: int
    name: str
    recorded_ns: int
    header: Header
    message_header: Any | None
    decode: Callable[[], NDArray[np.uint8]]
    info: Any | None
    references: dict[str, Any]
    joints: Mapping[Joint, Movement] = field(default_factory=dict)


class Source(Protocol):
    """An open stream."""

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        """The frames of one chunk, in recorded order."""


@contextmanager
def open_stream(
    stream: Stream, references: tuple[str, ...] = (), tolerance_ns: int = 0, joints: tuple[Joint, ...] = ()
) -> Iterator[Source]:
    """Open a stream to read its frames.

    Args:
        stream: of `find_streams`.
        references: topics of which each frame gets the message nearest in time.
        tolerance_ns: greatest difference between the stamps of the two.
        joints: those whose movement each frame gets.
    """
    if stream.kind == "bag":
        with open_bag(stream.path) as bag:
            yield _BagSource(bag, stream, references, tolerance_ns, joints)
    elif stream.kind == "folder":
        yield _FolderSource(stream)
    else:
        yield _VideoSource(stream)


class _BagSource:
    """One image topic of an open bag."""

    def __init__(
        self, bag: Bag, stream: Stream, references: tuple[str, ...], tolerance_ns: int, joints: tuple[Joint, ...]
    ) -> None:
        self._bag = bag
        self._stream = stream
        self._references = references
        self._tolerance_ns = tolerance_ns
        self._joints = joints
        # A camera's first CameraInfo stands in where the driver sends only one, or none for a while.
        self._first_info: Any | None = None
        if stream.info_topic:
            self._first_info = next((record.message for record in bag.messages(stream.info_topic)), None)

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        """One pass over the chunk and what was recorded shortly before and after it."""
        late_ns = self._tolerance_ns + _LATE_NS
        around = _Around(self._references, self._joints, self._tolerance_ns)
        waiting: deque[tuple[int, Any]] = deque()
        taken = 0
        topics = dict.fromkeys([self._stream.topic, *filter(None, [self._stream.info_topic]), *self._references])
        if self._joints:
            topics[MOVING] = None
        for record in self._bag.messages(*topics, start_ns=chunk.start - late_ns, stop_ns=chunk.stop + late_ns):
            while waiting and record.stamp_ns > waiting[0][0] + late_ns:
                yield self._frame(taken, *waiting.popleft(), around)
                taken += 1
            if record.topic == self._stream.topic:
                if chunk.start <= record.stamp_ns < chunk.stop:
                    waiting.append((record.stamp_ns, record.message))
            elif record.topic == self._stream.info_topic:
                around.infos.add(record.message)
            elif record.topic == MOVING:
                around.move(record.message)
            else:
                around.nearest[record.topic].add(header_of(record.message, record.stamp_ns).stamp_ns, record.message)
        for recorded_ns, message in waiting:
            yield self._frame(taken, recorded_ns, message, around)
            taken += 1

    def _frame(self, index: int, recorded_ns: int, message: Any, around: _Around) -> Frame:
        header = header_of(message, recorded_ns)
        info = around.infos.match(message.header)
        if info is None and self._first_info is not None:
            first = self._first_info.header.frame_id
            info = self._first_info if first == header.frame_id else None
        found = {topic: near.find(header.stamp_ns) for topic, near in around.nearest.items()}
        references = {topic: each for topic, each in found.items() if each is not None}
        decode = partial(to_rgb, message)
        return Frame(index, "", recorded_ns, header, message.header, decode, info, references, around.joints)


class _Around:
    """What was recorded about the same time as the images that wait."""

    def __init__(self, references: tuple[str, ...], joints: tuple[Joint, ...], tolerance_ns: int) -> None:
        self.infos = CameraInfos()
        self.nearest = {topic: Nearest(tolerance_ns) for topic in references}
        self.joints = {joint: Movement(joint, tolerance_ns) for joint in joints}

    def move(self, message: Any) -> None:
        """Remembers the transforms that matter of a TFMessage."""
        for joint, stamp_ns, translation, rotation in transforms_in(message):
            if joint in self.joints:
                self.joints[joint].add(stamp_ns, translation, rotation)


class _FolderSource:
    """A folder of images, in the order of their names."""

    def __init__(self, stream: Stream) -> None:
        self._paths = image_files(Path(stream.path))

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        for number in range(chunk.start, chunk.stop):
            path = self._paths[number]
            header = Header(number * 100_000_000, "")
            yield Frame(
                number - chunk.start, path.stem, header.stamp_ns, header, None, partial(read_rgb, path), None, {}
            )


class _VideoSource:
    """A video file, from its beginning to its end: going to a frame is not exact in all formats."""

    def __init__(self, stream: Stream) -> None:
        self._path = stream.path

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        capture = cv2.VideoCapture(self._path)
        try:
            rate = capture.get(cv2.CAP_PROP_FPS) or 10.0
            for number in range(chunk.stop):
                found, bgr = capture.read()
                if not found:
                    return
                header = Header(round(number * 1e9 / rate), "")
                decode = partial(from_bgr, bgr)
                yield Frame(number, f"{number:06d}", header.stamp_ns, header, None, decode, None, {})
        finally:
            capture.release()


def header_of(message: Any, recorded_ns: int) -> Header:
    """Stamp and frame of a message that was recorded at `recorded_ns`."""
    stamp = message.header.stamp
    return Header(stamp.sec * 1_000_000_000 + stamp.nanosec or recorded_ns, message.header.frame_id)
