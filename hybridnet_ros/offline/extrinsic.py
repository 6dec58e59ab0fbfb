"""Where the LiDAR is, seen from the camera: read from a file, or found among a bag's recorded static transforms."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from hybridnet_ros.offline.bag import Bag, BagError
from hybridnet_ros.offline.evaluation import EvaluationError

Matrix = tuple[tuple[float, ...], ...]


def read_extrinsic(path: Path) -> Matrix:
    """A transform from YAML: `matrix` (3 or 4 rows of 4), or `translation` [x, y, z] and `rotation` [x, y, z, w].

    It takes points from the LiDAR's frame to the camera's optical frame, as
    `ros2 run tf2_ros tf2_echo CAMERA LIDAR` prints it.

    Raises:
        EvaluationError: the file cannot be read or is no rigid transform.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "matrix" in data:
            matrix = np.array(data["matrix"], np.float64)[:3]
        else:
            matrix = _rigid(data["translation"], data["rotation"])
        rotation = matrix[:, :3]
        if matrix.shape != (3, 4) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError("it is no rigid transform")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, IndexError) as error:
        raise EvaluationError(
            f"cannot read the extrinsic {path}: {error}; give `matrix` (3 rows of 4), or `translation` [x, y, z] and "
            "`rotation` [x, y, z, w], from the LiDAR's frame to the camera's"
        ) from None
    return tuple(tuple(row) for row in matrix.tolist())


def recorded_transform(bag: Bag, source: str, target: str) -> Matrix:
    """3 x 4 from frame `source` to frame `target` by the bag's /tf_static."""
    known: dict[str, dict[str, NDArray[np.float64]]] = {}
    if any(topic.name == "/tf_static" and topic.count for topic in bag.topics):
        for record in bag.messages("/tf_static"):
            for each in record.message.transforms:
                parent, child = each.header.frame_id.lstrip("/"), each.child_frame_id.lstrip("/")
                move, turn = each.transform.translation, each.transform.rotation
                matrix = _rigid((move.x, move.y, move.z), (turn.x, turn.y, turn.z, turn.w))
                whole = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
                known.setdefault(child, {})[parent] = whole
                known.setdefault(parent, {})[child] = np.linalg.inv(whole)
    source, target = source.lstrip("/"), target.lstrip("/")
    reached, ahead = {source: np.eye(4)}, deque([source])
    while ahead and target not in reached:
        frame = ahead.popleft()
        for neighbour, step in known.get(frame, {}).items():
            if neighbour not in reached:
                reached[neighbour] = step @ reached[frame]
                ahead.append(neighbour)
    if target not in reached:
        raise BagError(
            f"{bag.path}: no transform from {source!r} to {target!r} is recorded on /tf_static "
            f"(frames there: {', '.join(sorted(known)) or 'none'}); give it with --extrinsic"
        )
    return tuple(tuple(row) for row in reached[target][:3].tolist())


def _rigid(translation: Any, rotation: Any) -> NDArray[np.float64]:
    """3 x 4 of a translation [x, y, z] and a quaternion [x, y, z, w]."""
    x, y, z, w = np.array(rotation, np.float64) / np.linalg.norm(rotation)
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.column_stack([turn, np.array(translation, np.float64)])
