"""Reads ROS 2 bags (MCAP or SQLite3) without a ROS installation.

    with open_bag("demo/kitti_sequence") as bag:
        for topic in bag.topics:
            print(topic)
        for stamp_ns, topic, image in bag.messages("/camera/image_rect/compressed"):
            ...

Whatever is wrong with a bag comes out as a BagError that names the bag, what is there, and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple


class BagError(Exception):
    """A bag is missing, damaged, or does not hold what was asked of it."""


@dataclass(frozen=True)
class Topic:
    """One recorded topic: `type` as in `sensor_msgs/msg/Image`, `count` messages."""

    name: str
    type: str
    count: int

    def __str__(self) -> str:
        return f"{self.name} ({self.type}, {self.count} messages)"


class Record(NamedTuple):
    """A recorded message: when it was recorded in ns since the epoch, its topic, and the message."""

    stamp_ns: int
    topic: str
    message: Any


class Bag:
    """An open bag; see `open_bag`."""

    def __init__(self, path: Path, reader: Any, typestore: Any) -> None:
        self.path = path
        self._reader = reader
        self._typestore = typestore
        self.topics = tuple(
            sorted((Topic(c.topic, c.msgtype, c.msgcount) for c in reader.connections), key=lambda topic: topic.name)
        )

    @property
    def start_ns(self) -> int:
        """When the first message was recorded; 0 in an empty bag."""
        return int(self._reader.start_time) if self._reader.message_count else 0

    @property
    def end_ns(self) -> int:
        """Just after the last message was recorded; 0 in an empty bag."""
        return int(self._reader.end_time) if self._reader.message_count else 0

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return max(0.0, (self._reader.duration - 1) / 1e9)

    def require(self, name: str, kind: str) -> Topic:
        """The topic `name`, of message type `kind`.

        Raises:
            BagError: there is no such topic, it has another type, or no message; says which topics there are.
        """
        for topic in self.topics:
            if topic.name == name:
                if topic.type != kind:
                    raise BagError(f"{self.path}: {name} holds {topic.type}, {kind} is needed; {self._contents()}")
                if topic.count == 0:
                    raise BagError(f"{self.path}: nothing was recorded on {name}; {self._contents()}")
                return topic
        raise BagError(f"{self.path} has no topic {name}; {self._contents()}")

    def raw(self, *topics: str) -> Iterator[Record]:
        """Messages of these topics (all if none is named) in recorded order, each as its CDR bytes.

        Raises:
            BagError: a topic is not in the bag, or the file is damaged at that point.
        """
        for connection, stamp_ns, data in self._records(topics):
            yield Record(stamp_ns, connection.topic, data)

    def messages(self, *topics: str, start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Record]:
        """As `raw`, each as a message object with ROS's fields; sequences of numbers are NumPy arrays.

        Only those recorded from `start_ns` on and before `stop_ns`, if given; the others are not even read.

        Raises:
            BagError: also when a message cannot be decoded.
        """
        for connection, stamp_ns, data in self._records(topics, start_ns, stop_ns):
            with self._damage_reported():
                message = self._typestore.deserialize_cdr(data, connection.msgtype)
            yield Record(stamp_ns, connection.topic, message)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _records(
        self, topics: tuple[str, ...], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[Any, int, bytes]]:
        known = {topic.name for topic in self.topics}
        for name in topics:
            if name not in known:
                raise BagError(f"{self.path} has no topic {name}; {self._contents()}")
        chosen = [c for c in self._reader.connections if not topics or c.topic in topics]
        with self._damage_reported():
            yield from self._reader.messages(chosen, start_ns, stop_ns)

    def _contents(self) -> str:
        return f"it has {', '.join(map(str, self.topics)) or 'no topics'}"

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # on damaged bytes, rosbags raises whatever its parsing stumbles over
            raise BagError(f"{self.path} is damaged: {_reason(error)}. {_RESTORE}") from error


_RESTORE = (
    "Copy it again from where it was recorded (`mcap recover` rescues what is in a cut-off .mcap, `ros2 bag reindex` "
    "rebuilds a missing metadata.yaml)"
)


def open_bag(path: str | Path) -> Bag:
    """Open the bag at `path`: a folder with metadata.yaml, or one .mcap or .db3 file; use it as a context manager.

    Raises:
        BagError: there is no bag there, it is cut off or damaged, or `rosbags` is not installed.
    """
    path = Path(path)
    try:
        from rosbags.rosbag2 import Reader
    except ImportError as error:
        raise BagError(f"reading bags needs the package rosbags ({error}): pip install rosbags") from error

    if not path.exists():
        raise BagError(f"there is no bag at {path}; {_neighbours(path)}")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise BagError(f"{path} is no bag: it has no metadata.yaml; it holds {_listing(path)}. {_RESTORE}")
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # as above
        raise BagError(f"{path} cannot be read: {_reason(error)}. {_RESTORE}") from error
    return Bag(path, reader, typestore())


_VISION_MSGS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}
"""What names the classes of a label image; `rosbags` does not bring it along."""


@lru_cache(maxsize=1)
def typestore() -> Any:
    """The message types of ROS 2 that we read and write, for `rosbags`."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    for name, definition in _VISION_MSGS.items():
        types.register(get_types_from_msg(definition, name))
    return types


def _reason(error: BaseException) -> str:
    text = str(error).rstrip(".") or type(error).__name__
    cut_off = "it was cut off before its end, while it was recorded or copied: " if "File end magic" in text else ""
    return cut_off + text


def _neighbours(path: Path) -> str:
    """What there is along `path`, as far as it exists."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    return f"{folder} holds {_listing(folder)}"


def _listing(folder: Path, most: int = 8) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"
