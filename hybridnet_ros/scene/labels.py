"""Label sets: what the class ids of a label image mean, and how one set maps to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

_MAPPING_PREFIX = "from_"


class LabelError(ValueError):
    """A class name, a label set or a mapping between label sets that does not exist or is not valid."""


@dataclass(frozen=True)
class LabelSet:
    """The classes of a label image; class id `i` has `names[i]`, `colors[i]` and `ids[i]`.

    Attributes:
        name: name of the set, for instance `cityscapes19`.
        names: one name a class, in the order of the class ids.
        colors: one (red, green, blue) a class, 0 to 255.
        ids: the id each class has in the files of its dataset; they differ from the class ids in Cityscapes.
        ignore: the class id of pixels that have no label.
        mappings: other label sets whose class ids can be turned into ours: for each class id of the other set, by its
            name, ours or `ignore`.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]
    ignore: int = 255
    mappings: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuses sets whose parts do not fit together, so that everything after this can trust them."""
        classes = len(self.names)
        if not 1 <= classes <= 255:
            raise LabelError(f"label set {self.name!r} has {classes} classes: give 1 to 255 names")
        if len(set(self.names)) != classes:
            raise LabelError(f"label set {self.name!r} names a class twice: {', '.join(self.names)}")
        for what, values in (("colors", self.colors), ("ids", self.ids)):
            if len(values) != classes:
                raise LabelError(f"label set {self.name!r} has {classes} names but {len(values)} {what}: give one each")
        if any(len(color) != 3 or not all(0 <= value <= 255 for value in color) for color in self.colors):
            raise LabelError(f"label set {self.name!r} has a color that is not three numbers from 0 to 255")
        if not classes <= self.ignore <= 255:
            raise LabelError(f"label set {self.name!r} ignores {self.ignore}: choose an id from {classes} to 255")
        for other, targets in self.mappings.items():
            wrong = [target for target in targets if target != self.ignore and not 0 <= target < classes]
            if wrong:
                raise LabelError(
                    f"label set {self.name!r}, mapping {_MAPPING_PREFIX}{other}: {wrong[0]} is no class id; "
                    f"use 0 to {classes - 1}, or {self.ignore} for none"
                )

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.names)

    def index(self, name: str) -> int:
        """The class id of a class name; LabelError lists the names when there is none."""
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelError(
                f"label set {self.name!r} has no class {name!r}; it has: {', '.join(self.names)}"
            ) from None

    def palette(self) -> NDArray[np.uint8]:
        """Colour of every possible label value, uint8 [256, 3] rgb; values that are no class are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = self.colors
        return palette

    def mapping_from(self, other: str) -> NDArray[np.uint8]:
        """Lookup table uint8 [256] from the class ids of the label set named `other` to ours, `ignore` elsewhere."""
        if other not in self.mappings:
            known = ", ".join(self.mappings) or "none"
            raise LabelError(f"label set {self.name!r} has no mapping from {other!r}; it has: {known}")
        table = np.full(256, self.ignore, np.uint8)
        table[: len(self.mappings[other])] = self.mappings[other]
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as written to YAML and to manifests; `from_dict` reads them back."""
        return {
            "name": self.name,
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "ids": list(self.ids),
            "ignore": self.ignore,
            **{_MAPPING_PREFIX + other: list(targets) for other, targets in self.mappings.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSet:
        """The label set written by `to_dict`; LabelError says what is missing or wrong."""
        try:
            return cls(
                name=str(data["name"]),
                names=tuple(str(name) for name in data["names"]),
                colors=tuple((int(red), int(green), int(blue)) for red, green, blue in data["colors"]),
                ids=tuple(int(label_id) for label_id in data["ids"]),
                ignore=int(data.get("ignore", 255)),
                mappings={
                    key[len(_MAPPING_PREFIX) :]: tuple(int(target) for target in targets)
                    for key, targets in data.items()
                    if key.startswith(_MAPPING_PREFIX)
                },
            )
        except KeyError as error:
            raise LabelError(f"a label set needs {error}; it has: {', '.join(map(str, data))}") from None
        except LabelError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise LabelError(f"not a label set: {error}") from None

    @classmethod
    def from_yaml(cls, path: str | Path) -> LabelSet:
        """Reads a file such as config/labels/cityscapes19.yaml; LabelError names the file."""
        path = Path(path)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise LabelError("expected the keys name, names, colors and ids")
            return cls.from_dict(data)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, LabelError) as error:
            raise LabelError(f"cannot read label set {path}: {error}") from None
