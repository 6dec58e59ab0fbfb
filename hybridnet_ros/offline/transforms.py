"""Where the LiDAR is, seen from the camera: read from a file, or found among a bag's recorded transforms.

Joints may move (a LiDAR on a turntable, a camera on a pan-tilt head): their transforms are on /tf and are interpolated,
translations linearly and rotations on the sphere, as tf2 does. Steps from the LiDAR up are taken at the cloud's stamp,
steps down to the camera at the image's. How the robot itself moved between the two stamps is left alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError
from hybridnet_ros.offline.bag import Bag, BagError
from hybridnet_ros.offline.evaluation import EvaluationError

Matrix = tuple[tuple[float, ...], ...]
Vector = tuple[float, ...]
STATIC, MOVING = "/tf_static", "/tf"

_REMEMBERED = 10_000  # transforms of one joint: seconds at any rate a robot has
_SAME_TURN = 0.9995  # cosine between two rotations, beyond which the sphere is as good as flat


class Joint(NamedTuple):
    """Two frames, one fixed to the other or moving in it."""

    parent: str
    child: str


Transform = tuple[Joint, int, Vector, Vector]
"""Joint, stamp in ns, translation [x, y, z] and rotation [x, y, z, w]."""


class Step(NamedTuple):
    """From one frame to the next.

    Attributes:
        joint: the two frames.
        up: from the child to the parent; else from the parent to the child.
        matrix: 3 x 4, from the child to the parent; None where it moves.
    """

    joint: Joint
    up: bool
    matrix: Matrix | None


@dataclass(frozen=True)
class Chain:
    """Steps from the LiDAR's frame to the camera's optical frame; none where they are the same."""

    steps: tuple[Step, ...] = ()

    @property
    def moving(self) -> tuple[Joint, ...]:
        """The joints whose transforms are needed from /tf."""
        return tuple(dict.fromkeys(step.joint for step in self.steps if step.matrix is None))

    def at(self, cloud_ns: int, image_ns: int, joints: Mapping[Joint, Movement]) -> NDArray[np.float64]:
        """Float64 [3, 4], takes points of a cloud of one stamp to the camera of another.

        Raises:
            MessageError: a joint's transform is not recorded near enough in time.
        """
        whole = np.eye(4)
        for step in self.steps:
            if step.matrix is not None:
                matrix = np.array(step.matrix)
            else:
                matrix = joints[step.joint].at(cloud_ns if step.up else image_ns)
            square = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
            whole = (square if step.up else np.linalg.inv(square)) @ whole
        return whole[:3]


@dataclass
class Movement:
    """The last transforms of one joint, in the order of their stamps."""

    joint: Joint
    tolerance_ns: int
    _known: deque[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED)
    )

    def add(self, stamp_ns: int, translation: Any, rotation: Any) -> None:
        """Remembers [x, y, z] and a quaternion [x, y, z, w]; what is older than the last transform is left out."""
        if not self._known or stamp_ns > self._known[-1][0]:
            turn = np.array(rotation, np.float64)
            self._known.append((stamp_ns, np.array(translation, np.float64), turn / np.linalg.norm(turn)))

    def at(self, stamp_ns: int) -> NDArray[np.float64]:
        """Float64 [3, 4] at a stamp: between two transforms, or that of the only side there is within the tolerance."""
        before = next((each for each in reversed(self._known) if each[0] <= stamp_ns), None)
        after = next((each for each in self._known if each[0] >= stamp_ns), None)
        if before is not None and after is not None:
            part = (stamp_ns - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
            return _rigid(before[1] + part * (after[1] - before[1]), _between(before[2], after[2], part))
        near = before or after
        if near is None or abs(near[0] - stamp_ns) > self.tolerance_ns:
            raise MessageError(
                f"the transform from {self.joint.child!r} to {self.joint.parent!r} is not recorded on {MOVING} near "
                "enough in time"
            )
        return _rigid(near[1], near[2])


def read_extrinsic(path: Path) -> Chain:
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
    return Chain((Step(Joint("camera", "lidar"), True, _plain(matrix)),))


def recorded_chain(bag: Bag, source: str, target: str) -> Chain:
    """From frame `source` to frame `target` by the bag's /tf_static, and /tf where that is not enough.

    Raises:
        BagError: they are not connected; says which frames there are.
    """
    source, target = _name(source), _name(target)
    fixed: dict[Joint, Matrix | None] = {}
    for joint, _, translation, rotation in _transforms(bag, STATIC):
        fixed[joint] = _plain(_rigid(translation, rotation))
    joints = dict(fixed)
    found = _path(joints, source, target)
    if found is None:
        for joint, *_ in _transforms(bag, MOVING):
            if joint not in joints:
                joints[joint] = None
                found = _path(joints, source, target)
                if found is not None:
                    break
    if found is None:
        frames = sorted({name for joint in joints for name in joint})
        raise BagError(
            f"{bag.path}: no transform from {source!r} to {target!r} is recorded on {STATIC} or {MOVING} "
            f"(frames there: {', '.join(frames) or 'none'}); give it with --extrinsic"
        )
    return found


def transforms_in(message: Any) -> list[Transform]:
    """The transforms in a TFMessage."""
    found: list[Transform] = []
    for each in message.transforms:
        stamp, move, turn = each.header.stamp, each.transform.translation, each.transform.rotation
        joint = Joint(_name(each.header.frame_id), _name(each.child_frame_id))
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        found.append((joint, stamp_ns, (move.x, move.y, move.z), (turn.x, turn.y, turn.z, turn.w)))
    return found


def _transforms(bag: Bag, topic: str) -> Iterator[Transform]:
    if any(each.name == topic and each.count for each in bag.topics):
        for record in bag.messages(topic):
            yield from transforms_in(record.message)


def _path(joints: Mapping[Joint, Matrix | None], source: str, target: str) -> Chain | None:
    """The fewest steps from one frame to the other."""
    reached: dict[str, tuple[Step, ...]] = {source: ()}
    ahead = deque([source])
    while ahead and target not in reached:
        frame = ahead.popleft()
        for joint, matrix in joints.items():
            for here, there, up in ((joint.child, joint.parent, True), (joint.parent, joint.child, False)):
                if here == frame and there not in reached:
                    reached[there] = (*reached[frame], Step(joint, up, matrix))
                    ahead.append(there)
    return Chain(reached[target]) if target in reached else None


def _name(frame: str) -> str:
    return frame.lstrip("/")


def _plain(matrix: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())


def _between(a: NDArray[np.float64], b: NDArray[np.float64], part: float) -> NDArray[np.float64]:
    """The unit quaternion a part (0 to 1) of the shortest way from `a` to `b`."""
    cosine = float(a @ b)
    if cosine < 0:  # both signs mean the same rotation
        b, cosine = -b, -cosine
    if cosine > _SAME_TURN:
        between = a + part * (b - a)
        return between / np.linalg.norm(between)
    angle = np.arccos(cosine)
    return (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)


def _rigid(translation: Any, rotation: Any) -> NDArray[np.float64]:
    """3 x 4 of a translation [x, y, z] and a quaternion [x, y, z, w]."""
    x, y, z, w = np.array(rotation, np.float64) / np.linalg.norm(rotation)
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.column_stack([turn, np.array(translation, np.float64)])
