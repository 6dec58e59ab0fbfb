"""Short runs of what `scripts/endurance` does at length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from endurance import fuzz, soak, walks
from ros_testing import NodeProcess, Robot
from tiny import write_tiny_engine

StartNode = Callable[..., NodeProcess]
MakeRobot = Callable[..., Robot]


def test_malformed_raw_images_and_camera_infos(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/fuzz_raw", engine=engine, input_transport="raw", **fuzz.NODE_PARAMETERS)
    result = fuzz.fuzz_raw(node, make_robot("/fuzz_raw"), messages=160, seed=2)
    assert sum(result["malformed_sent"].values()) == 160
    assert result["node_counted"]["dropped: bad image"] > 0


def test_malformed_compressed_images(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/fuzz_jpeg", engine=engine, input_transport="compressed", **fuzz.NODE_PARAMETERS)
    robot = make_robot("/fuzz_jpeg", raw=False)
    robot.compressed_camera()
    result = fuzz.fuzz_compressed(node, robot, messages=80, seed=3)
    assert sum(result["malformed_sent"].values()) == 80
    assert result["node_counted"]["dropped: bad image"] > 0


def test_random_walks_through_the_lifecycle(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/walks", engine=engine, **walks.NODE_PARAMETERS)
    result = walks.walk(node, make_robot("/walks"), walks=12, seed=4)
    held = result["holdings_when_unconfigured"]
    assert result["transitions_made"] > 24
    assert result["transitions_refused"] > 5
    for name in ("descriptors", "threads", "shared_files"):
        assert held[name]["growth"] <= 0, held


def test_every_frame_is_accounted_for_under_overload(context: object, tmp_path: Path) -> None:
    slow = str(write_tiny_engine(tmp_path, "slow", work=60))
    result = soak.run(tmp_path, slow, rate=100.0, size="640x480", minutes=0.1, say=print)
    assert result["frames_sent"] == 600
    assert result["node_counted"]["dropped: replaced by a newer one"] > 0
