"""What is to be done, cut into items that any process can do, and what came of each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hybridnet_ros.offline.evaluation import Settings
from hybridnet_ros.offline.figures import FrameFigures
from hybridnet_ros.offline.label_references import LabelReference
from hybridnet_ros.offline.measures import Tally
from hybridnet_ros.offline.plain import from_plain, to_plain, write_json
from hybridnet_ros.offline.predictions import Outputs
from hybridnet_ros.offline.references import DepthReference
from hybridnet_ros.offline.streams import Stream

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Task:
    """One stream with what it is measured against."""

    stream: Stream
    depth: DepthReference | None = None
    labels: LabelReference | None = None


class Item(NamedTuple):
    """One chunk of one task, by their numbers."""

    task: int
    chunk: int


@dataclass(frozen=True)
class Job:
    """Everything that is to be done, and how; the same for every worker.

    Attributes:
        engine, runtime, threads: as for `open_engine`.
        engine_sha256: of its ONNX file.
        settings: see there.
        outputs: what the prediction bags hold; None writes none.
        tasks: one for each stream.
        folder: where everything is written.
    """

    engine: str
    runtime: str
    threads: int
    engine_sha256: str
    settings: Settings
    outputs: Outputs | None
    tasks: tuple[Task, ...]
    folder: str

    @property
    def items(self) -> list[Item]:
        """The work list."""
        return [Item(task, chunk) for task, each in enumerate(self.tasks) for chunk in range(len(each.stream.chunks))]

    def part_path(self, item: Item) -> Path:
        """Where the figures of an item are kept until all are done."""
        return Path(self.folder) / "parts" / f"{item.task}_{item.chunk:06d}.json"

    def record_path(self, item: Item) -> Path:
        """The metadata of the item's prediction file; there only where it has one."""
        return self.part_path(item).with_suffix(".yaml")

    def bag_folder(self, task: int) -> Path:
        """The prediction bag of a task."""
        name = Path(self.tasks[task].stream.path).absolute().stem
        return Path(self.folder) / "predictions" / f"{task}_{name}"

    def bag_path(self, item: Item) -> Path:
        """The prediction file of an item."""
        return self.bag_folder(item.task) / f"{self.bag_folder(item.task).name}_{item.chunk}.mcap"


@dataclass
class Part:
    """What came of one item.

    Attributes:
        tally: sums over its frames.
        frames: `number` counts from the beginning of the chunk.
        images: seen, whether they could be used or not.
        failed: of them that could not be used.
        whole: it was not stopped before its end.
        damaged: the recording is unreadable from some point on.
        problems: what went wrong, with how often.
        engine_ms: of each frame.
    """

    tally: Tally
    frames: list[FrameFigures] = field(default_factory=list)
    images: int = 0
    failed: int = 0
    whole: bool = False
    damaged: bool = False
    problems: Counter[str] = field(default_factory=Counter)
    engine_ms: list[float] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Notes what went wrong with a frame."""
        if text in self.problems or len(self.problems) < _MOST_PROBLEMS:
            self.problems[text] += 1

    def save(self, path: Path) -> None:
        """Keeps it until all is done."""
        frames = [to_plain(frame) for frame in self.frames]
        write_json(path, {**vars(self), "tally": self.tally.to_dict(), "frames": frames})

    @classmethod
    def load(cls, path: Path) -> Part:
        """What `save` kept."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["tally"] = Tally.from_dict(plain["tally"])
        plain["frames"] = [from_plain(FrameFigures, frame) for frame in plain["frames"]]
        return cls(**{**plain, "problems": Counter(plain["problems"])})
