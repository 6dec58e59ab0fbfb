"""Where images come from: an image topic of a bag, a folder of images, or a video; each is one stream of frames.

    for stream in find_streams(Path("drive"), Selection()):
        with open_stream(stream) as source:
            for chunk in stream.chunks:
                for frame in source.frames(chunk):
                    rgb = frame.decode()

A stream is cut into chunks that can be evaluated on their own, in any order and by any process. Where it is cut depends
on the recording alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import ENCODINGS, CameraInfos, MessageError, to_rgb
from hybridnet_ros.offline.bag import Bag, BagError, Topic, open_bag
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.references import Nearest

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE_FILES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_FILES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")

_CHUNK_NS, _MOST_CHUNKS = 10_000_000_000, 10_000
_CHUNK_FILES = 100
# How much later than an image its CameraInfo and its references may have been recorded, beyond the tolerance.
_LATE_NS = 1_000_000_000
_MIB = 1 << 20


class Chunk(NamedTuple):
    """Part of a stream: of a bag, what was recorded from `start` ns on and before `stop`; else numbers of frames."""

    start: int
    stop: int


@dataclass(frozen=True)
class Stream:
    """What is to be evaluated; everything that a worker needs to open it.

    Attributes:
        path: the bag, folder or video.
        kind: `bag`, `folder` or `video`.
        topic: of the images of a bag.
        type: message type, or the kind of file.
        info_topic: CameraInfo of the images; empty where there is none.
        fx: focal length in px to take where there is no CameraInfo.
        count: frames expected.
        chunks: see `Chunk`.
        fingerprint: says whether a recording is the same one as before.
        namespace: before the names of the prediction topics.
    """

    path: str
    kind: str
    topic: str
    type: str
    info_topic: str
    fx: float | None
    count: int
    chunks: tuple[Chunk, ...]
    fingerprint: str
    namespace: str = ""

    @property
    def camera(self) -> str:
        """Where the focal length comes from, in words."""
        given = f"fx {self.fx:g} px as given" if self.fx else "unknown: depth is as at the training focal length"
        return f"CameraInfo on {self.info_topic}" if self.info_topic else given


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
    """

    index: int
    name: str
    recorded_ns: int
    header: Header
    message_header: Any | None
    decode: Callable[[], NDArray[np.uint8]]
    info: Any | None
    references: dict[str, Any]


class Source(Protocol):
    """An open stream."""

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        """The frames of one chunk, in recorded order."""


@dataclass(frozen=True)
class Selection:
    """Which images of a recording, and how they belong to CameraInfo.

    Attributes:
        topics: of the images; the only one there is when empty.
        info_topic: of CameraInfo; the one beside the images when empty.
        fx: focal length in px of images without CameraInfo.
        references: topics that are references and no images to evaluate.
    """

    topics: tuple[str, ...] = ()
    info_topic: str = ""
    fx: float | None = None
    references: tuple[str, ...] = ()


def find_streams(path: Path, selection: Selection) -> list[Stream]:
    """The streams of a recording.

    Raises:
        BagError: there is none, it is damaged, or it has not the topics; says what there is.
        EvaluationError: a folder without images, or a file that is no video.
    """
    if path.suffix.lower() in VIDEO_FILES and path.is_file():
        return [_video(path, selection)]
    if path.is_dir() and not (path / "metadata.yaml").is_file() and not _bag_files(path):
        return [_folder(path, selection)]
    if path.is_file() and path.suffix not in (".mcap", ".db3"):
        raise EvaluationError(
            f"{path} is no recording: give a bag (a folder, or one .mcap or .db3 file), a folder of images, or a video "
            f"({', '.join(VIDEO_FILES)})"
        )
    with open_bag(path) as bag:
        topics = selection.topics or (_only_image_topic(bag, selection.references),)
        return [_bag(bag, topic, selection, several=len(topics) > 1) for topic in topics]


@contextmanager
def open_stream(stream: Stream, references: tuple[str, ...] = (), tolerance_ns: int = 0) -> Iterator[Source]:
    """Open a stream to read its frames; with the nearest message of the topics `references` within the tolerance."""
    if stream.kind == "bag":
        with open_bag(stream.path) as bag:
            yield _BagSource(bag, stream, references, tolerance_ns)
    elif stream.kind == "folder":
        yield _FolderSource(stream)
    else:
        yield _VideoSource(stream)


class _BagSource:
    """One image topic of an open bag."""

    def __init__(self, bag: Bag, stream: Stream, references: tuple[str, ...], tolerance_ns: int) -> None:
        self._bag = bag
        self._stream = stream
        self._references = references
        self._tolerance_ns = tolerance_ns
        # A camera's first CameraInfo stands in where the driver sends only one, or none for a while.
        self._first_info: Any | None = None
        if stream.info_topic:
            self._first_info = next((record.message for record in bag.messages(stream.info_topic)), None)

    def frames(self, chunk: Chunk) -> Iterator[Frame]:
        """One pass over the chunk and what was recorded shortly before and after it."""
        late_ns = self._tolerance_ns + _LATE_NS
        infos = CameraInfos()
        nearest = {topic: Nearest(self._tolerance_ns) for topic in self._references}
        waiting: deque[tuple[int, Any]] = deque()
        taken = 0
        topics = dict.fromkeys([self._stream.topic, *filter(None, [self._stream.info_topic]), *self._references])
        for record in self._bag.messages(*topics, start_ns=chunk.start - late_ns, stop_ns=chunk.stop + late_ns):
            while waiting and record.stamp_ns > waiting[0][0] + late_ns:
                yield self._frame(taken, *waiting.popleft(), infos, nearest)
                taken += 1
            if record.topic == self._stream.topic:
                if chunk.start <= record.stamp_ns < chunk.stop:
                    waiting.append((record.stamp_ns, record.message))
            elif record.topic == self._stream.info_topic:
                infos.add(record.message)
            else:
                nearest[record.topic].add(_header(record.message, record.stamp_ns).stamp_ns, record.message)
        for recorded_ns, message in waiting:
            yield self._frame(taken, recorded_ns, message, infos, nearest)
            taken += 1

    def _frame(
        self, index: int, recorded_ns: int, message: Any, infos: CameraInfos, nearest: dict[str, Nearest]
    ) -> Frame:
        header = _header(message, recorded_ns)
        info = infos.match(message.header)
        if info is None and self._first_info is not None:
            first = self._first_info.header.frame_id
            info = self._first_info if first == header.frame_id else None
        found = {topic: near.find(header.stamp_ns) for topic, near in nearest.items()}
        references = {topic: each for topic, each in found.items() if each is not None}
        return Frame(index, "", recorded_ns, header, message.header, partial(to_rgb, message), info, references)


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
                decode = partial(_to_rgb, bgr)
                yield Frame(number, f"{number:06d}", header.stamp_ns, header, None, decode, None, {})
        finally:
            capture.release()


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, `2.jpg` before `10.jpg`."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_FILES]
    return sorted(
        paths, key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in a file: uint8 [H, W, 3] rgb; MessageError where it is none."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise MessageError(f"{path} is no picture, or is damaged")
    return _to_rgb(bgr)


def _to_rgb(bgr: Any) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def fingerprint(paths: list[Path]) -> str:
    """SHA-256 of the files' names, sizes, first and last MiB: tells recordings apart, and is soon done for any size."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_MIB))
            file.seek(max(0, size - _MIB))
            digest.update(file.read(_MIB))
    return digest.hexdigest()


def _header(message: Any, recorded_ns: int) -> Header:
    stamp = message.header.stamp
    return Header(stamp.sec * 1_000_000_000 + stamp.nanosec or recorded_ns, message.header.frame_id)


def _bag_files(folder: Path) -> list[Path]:
    names = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
    return sorted(path for path in folder.iterdir() if path.name.endswith(names))


def _bag(bag: Bag, name: str, selection: Selection, several: bool) -> Stream:
    topics = [topic for topic in bag.topics if topic.name == name]
    wrong = [topic for topic in topics if topic.type not in (IMAGE, COMPRESSED)]
    count = sum(topic.count for topic in topics)
    if not topics or wrong or not count:
        images = ", ".join(str(topic) for topic in _image_topics(bag)) or "none"
        reason = (
            f"{name} holds {' and '.join(topic.type for topic in topics)}" if wrong
            else f"nothing was recorded on {name}" if topics else f"there is no topic {name}"
        )  # fmt: skip
        raise BagError(f"{bag.path}: {reason}; its image topics are: {images}. Choose with --topic")
    raw = name.removesuffix("/compressed")
    info = selection.info_topic or f"{raw.rpartition('/')[0]}/camera_info"
    if selection.info_topic:
        bag.require(info, CAMERA_INFO)
    elif not any((topic.name, topic.type) == (info, CAMERA_INFO) and topic.count for topic in bag.topics):
        info = ""
    length = max(_CHUNK_NS, -(-(bag.end_ns - bag.start_ns) // _MOST_CHUNKS))
    starts = range(bag.start_ns, max(bag.end_ns, bag.start_ns + 1), length)
    path = bag.path
    files = [path] if path.is_file() else [path / "metadata.yaml", *_bag_files(path)]
    return Stream(
        path=str(path),
        kind="bag",
        topic=name,
        type=" and ".join(dict.fromkeys(topic.type for topic in topics)),
        info_topic=info,
        fx=selection.fx,
        count=count,
        chunks=tuple(Chunk(start, start + length) for start in starts),
        fingerprint=fingerprint(files),
        namespace=raw.rpartition("/")[0] if several else "",
    )


def _image_topics(bag: Bag) -> list[Topic]:
    return [topic for topic in bag.topics if topic.type in (IMAGE, COMPRESSED)]


def _only_image_topic(bag: Bag, references: tuple[str, ...]) -> str:
    """The one topic with camera pictures; raw where there is raw and compressed."""
    images = {topic.name: topic for topic in _image_topics(bag) if topic.count and topic.name not in references}
    pictures = [name for name in images if _is_picture(bag, name)]
    pictures = [name for name in pictures if name.removesuffix("/compressed") == name
                or name.removesuffix("/compressed") not in pictures]  # fmt: skip
    if len(pictures) == 1:
        return pictures[0]
    found = ", ".join(str(topic) for topic in _image_topics(bag)) or "none"
    what = f"{' or '.join(pictures)} may be meant" if pictures else "no topic has camera pictures"
    raise BagError(f"{bag.path}: {what}; its image topics are: {found}. Choose with --topic")


def _is_picture(bag: Bag, topic: str) -> bool:
    """Whether the first message on an image topic is a picture from a camera rather than depth."""
    message = next(bag.messages(topic)).message
    if hasattr(message, "format"):
        return not message.format.startswith(("16UC1", "32FC1", "mono16")) and "compressedDepth" not in message.format
    return message.encoding in ENCODINGS and message.encoding != "mono16"


def _folder(path: Path, selection: Selection) -> Stream:
    _refuse_topics(path, selection)
    files = image_files(path)
    if not files:
        raise EvaluationError(
            f"{path} is neither a bag (it has no metadata.yaml and no .mcap or .db3 file) nor a folder of images "
            f"({', '.join(IMAGE_FILES)})"
        )
    starts = range(0, len(files), _CHUNK_FILES)
    chunks = tuple(Chunk(start, min(start + _CHUNK_FILES, len(files))) for start in starts)
    kinds = ", ".join(sorted({file.suffix.lower() for file in files}))
    return Stream(str(path), "folder", "", kinds, "", selection.fx, len(files), chunks, fingerprint(files))


def _video(path: Path, selection: Selection) -> Stream:
    _refuse_topics(path, selection)
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    readable = capture.isOpened() and capture.read()[0]
    capture.release()
    if not readable:
        raise EvaluationError(f"{path} cannot be read as a video: it is damaged, or OpenCV here has no decoder for it")
    # The count is an estimate from the header in some formats; reading goes on to the real end.
    chunk = Chunk(0, 1 << 40)
    return Stream(str(path), "video", "", path.suffix, "", selection.fx, max(count, 1), (chunk,), fingerprint([path]))


def _refuse_topics(path: Path, selection: Selection) -> None:
    asked = [*selection.topics, *filter(None, [selection.info_topic]), *selection.references]
    if asked:
        raise EvaluationError(f"{path} is no bag and has no topics: leave out {', '.join(asked)}")
