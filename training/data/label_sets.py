"""The label sets of config/labels, and how labels of one become labels of another."""

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelError, LabelSet
from training.config import ConfigError, RunConfig


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


def favoured(config: RunConfig) -> list[float] | None:
    """What engine.favour adds to the score of each class; None where it favours none.

    Raises:
        ConfigError: it names a class that the run's label set has not.
    """
    names, favour = read_label_set(config.data.label_set).names, config.engine.favour
    if unknown := [name for name in favour if name not in names]:
        raise ConfigError(
            f"engine.favour: there is no class '{unknown[0]}' in {config.data.label_set}, there is {', '.join(names)}"
        )
    return [favour.get(name, 0.0) for name in names] if favour else None


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
