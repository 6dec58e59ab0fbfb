"""What is to be evaluated: an image topic of a bag, a folder of images, or a video; each is one stream of frames.

A stream is cut into chunks that can be evaluated on their own, in any order and by any process. Where it is cut depends
on the recording alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2

from hybridnet_ros.messages import ENCODINGS
from hybridnet_ros.offline.bag import Bag, BagError, Topic, open_bag
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.image_files import IMAGE_FILES, VIDEO_FILES, fingerprint, image_files

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

_CHUNK_NS, _MOST_CHUNKS = 10_000_000_000, 10_000
_CHUNK_FILES = 100


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
