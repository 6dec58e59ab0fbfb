"""Writes bags of predictions as evaluate-bag does, of depth and labels that a test knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hybridnet_ros.engine.perception import View
from hybridnet_ros.engine.stand_in import MANIFEST
from hybridnet_ros.offline.predictions import Outputs, PredictionWriter, finish_bag
from hybridnet_ros.offline.sources import Frame, Header
from tiny import TINY_LABELS

PERIOD_NS = 100_000_000


def write_predictions(folder: Path, depth: np.ndarray, labels: np.ndarray, first: int = 0) -> Path:
    """Depth float32 [N, H, W] and labels uint8 [N, H, W] as frames number `first` and on, ten a second; the bag."""
    folder.mkdir(parents=True)
    path, record = folder / f"{folder.name}_0.mcap", folder / "part.yaml"
    engine = replace(MANIFEST, labels=TINY_LABELS)
    with PredictionWriter(path, record, "", engine, 0.0, Outputs()) as writer:
        for number in range(len(depth)):
            stamp_ns = (first + number) * PERIOD_NS
            frame = Frame(number, "", stamp_ns, Header(stamp_ns, "camera"), None, SimpleNamespace, None, {})
            confidence = np.full(labels[number].shape, 255, np.uint8)
            writer.write(frame, None, View(depth[number], labels[number], confidence), None)
    finish_bag(folder, {path: record})
    return folder
