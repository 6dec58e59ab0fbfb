"""True labels, and what their values mean: from a label set, a mapping, the bag's LabelInfo, or the engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError, to_labels
from hybridnet_ros.offline.bag import Bag
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.references import require_one_of
from hybridnet_ros.resources import ResourceError, share_path
from hybridnet_ros.scene.labels import LabelError, LabelSet

LABEL_INFO = "vision_msgs/msg/LabelInfo"


@dataclass(frozen=True)
class LabelReference:
    """True labels: from a topic of the bag, or from a folder (see DepthReference).

    Attributes:
        topic: Image (mono8) or CompressedImage (8-bit PNG).
        folder: 8-bit grey PNG files.
        labels: the classes that are compared.
        from_pixels: for each of the 256 values of the reference's pixels its class, or `labels.ignore`.
        from_engine: for each class id of the engine the class, or `labels.ignore`.
        meaning: where the classes are taken from, in words.
        from_ids: pixels are ids of `labels`; any other value means that they are not, and is refused.
    """

    labels: LabelSet
    from_pixels: tuple[int, ...]
    from_engine: tuple[int, ...]
    meaning: str
    from_ids: bool = False
    topic: str = ""
    folder: str = ""

    def __str__(self) -> str:
        """Where it comes from, in words."""
        return f"{f'topic {self.topic}' if self.topic else f'folder {self.folder}'}, classes {self.meaning}"

    def read(self, found: Any) -> NDArray[np.uint8]:
        """Classes uint8 [h, w] of a message or file; MessageError where it holds something else."""
        if isinstance(found, Path):
            pixels = cv2.imread(str(found), cv2.IMREAD_UNCHANGED)
            if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2:
                raise MessageError(f"{found} is no 8-bit grey image of class ids")
        else:
            pixels = to_labels(found)
        if self.from_ids and (wrong := np.setdiff1d(pixels, (*range(len(self.labels)), self.labels.ignore))).size:
            raise MessageError(
                f"there is the value {wrong[0]}: the classes {self.labels.name} are 0 to {len(self.labels) - 1} in the "
                f"order of their names, {self.labels.ignore} is none; say with --classes FILE what each value means"
            )
        return np.asarray(cv2.LUT(pixels, np.array(self.from_pixels, np.uint8)), np.uint8)


def label_reference(
    engine: LabelSet, mapping: str, bag: Bag | None = None, topic: str = "", folder: str = ""
) -> LabelReference:
    """The label reference on a topic or in a folder, its pixels' meaning found in this order.

    `mapping`: the name of a shipped label set or a YAML file: a label set as in config/labels, with `from_NAME` for an
    engine with other classes, or a plain mapping from pixel values to names of the engine's classes.
    The bag's LabelInfo. The engine's own class ids.

    Raises:
        BagError: there is no such topic.
        EvaluationError: the mapping cannot be read or does not fit the engine.
    """
    if bag is not None:
        require_one_of(bag, topic, ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"))
    where: dict[str, Any] = {"topic": topic, "folder": folder}
    own = tuple(range(len(engine))) + (engine.ignore,) * (256 - len(engine))
    if mapping:
        path = _label_file(mapping)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(data, Mapping):
                raise LabelError("no mapping")
            if "names" not in data:
                named = {int(value): str(name) for value, name in data.items()}
                return LabelReference(engine, _by_name(engine, named, strict=True), own, f"by {path.name}", **where)
            theirs = LabelSet.from_dict(data)
            same = theirs.names == engine.names
            from_engine = own if same else tuple(theirs.mapping_from(engine.name).tolist())
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise EvaluationError(f"cannot use the classes in {path}: {error}") from None
        pixels = tuple(range(len(theirs))) + (theirs.ignore,) * (256 - len(theirs))
        return LabelReference(theirs, pixels, from_engine, f"of {theirs.name}", from_ids=True, **where)
    if bag is not None and (info_topic := _label_info_topic(bag, topic)):
        info = next(bag.messages(info_topic)).message
        named = {each.class_id: each.class_name for each in info.class_map}
        pixels = _by_name(engine, named, strict=False)
        if all(value == engine.ignore for value in pixels):
            raise EvaluationError(
                f"{bag.path}: none of the classes on {info_topic} ({', '.join(named.values())}) is one of the "
                f"engine's ({', '.join(engine.names)}): give a mapping with --classes"
            )
        return LabelReference(engine, pixels, own, f"by {info_topic}", **where)
    return LabelReference(engine, own, own, "ids as the engine's", from_ids=True, **where)


def _by_name(engine: LabelSet, named: Mapping[int, str], strict: bool) -> tuple[int, ...]:
    pixels = [engine.ignore] * 256
    for value, name in named.items():
        if 0 <= value < 256 and (strict or name in engine.names):
            pixels[value] = engine.index(name)
    return tuple(pixels)


def _label_file(mapping: str) -> Path:
    if mapping.endswith((".yaml", ".yml")):
        return Path(mapping)
    try:
        return share_path("config", "labels", f"{mapping}.yaml")
    except ResourceError:
        folder = share_path("config", "labels")
        names = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise EvaluationError(f"no label set is called {mapping!r}: choose {names}, or give a .yaml file") from None


def _label_info_topic(bag: Bag, topic: str) -> str:
    """The LabelInfo that goes with a label topic: the one beside it, else the only one."""
    infos = [each.name for each in bag.topics if each.type == LABEL_INFO and each.count]
    beside = [name for name in infos if name.rpartition("/")[0] == topic.removesuffix("/compressed").rpartition("/")[0]]
    chosen = beside or infos
    return chosen[0] if len(chosen) == 1 else ""
