"""The label sets of config/labels, and how labels of one become labels of another."""

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelError, LabelSet
from training.config import ConfigError


def read_label_set(name: str) -> LabelSet:
    """A label set of config/labels; ConfigError names it when there is none."""
    folder = share_path("config", "labels")
    if not (folder / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise ConfigError(f"there is no label set called {name}; there is {known}, or write config/labels/{name}.yaml")
    try:
        return LabelSet.from_yaml(folder / f"{name}.yaml")
    except LabelError as error:
        raise ConfigError(str(error)) from error


def label_table(label_set: LabelSet, other: str) -> NDArray[np.uint8] | None:
    """Lookup table uint8 [256] from the label set `other` to `label_set`; None where they are one.

    Raises:
        ConfigError: there is none; says where to write one.
    """
    if other == label_set.name:
        return None
    try:
        return label_set.mapping_from(other)
    except LabelError as error:
        raise ConfigError(
            f"{error}; train on {other}, or add from_{other} to config/labels/{label_set.name}.yaml"
        ) from error
