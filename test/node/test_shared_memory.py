"""The shared memory that killed processes leave behind is freed by the next node, and that of living ones is not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from endurance.process_watch import SHARED_MEMORY
from hybridnet_ros.node.shared_memory import free_dead_segments
from hybridnet_ros.processes import free_domain
from peers import Peer
from ros_testing import NodeProcess, wait_until

LONG_AGO = (0, 0)


def lock_of(segment: Path) -> Path:
    return segment.with_name(segment.name + "_el")


def segment_in(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"x" * 8192)
    lock_of(path).touch()
    os.utime(lock_of(path), LONG_AGO)
    return path


def test_segments_are_freed_whose_owner_is_dead(tmp_path: Path) -> None:
    dead, young, living = (segment_in(tmp_path, f"fastrtps_{number:016x}") for number in range(3))
    newer = segment_in(tmp_path, "fastdds_0123456789abcdef")
    others = [segment_in(tmp_path, name) for name in ("fastrtps_port7411", "fastrtps_0123", "psm_0123456789abcdef")]
    without_lock = tmp_path / "fastrtps_00000000000000ff"
    without_lock.touch()
    os.utime(lock_of(young))
    with lock_of(living).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert free_dead_segments(tmp_path) == 2 * 8192
        assert free_dead_segments(tmp_path) == 0
    assert not any(path.exists() for one in (dead, newer) for path in (one, lock_of(one)))
    assert all(path.exists() for one in (young, living, *others) for path in (one, lock_of(one)))
    assert without_lock.exists()
    assert free_dead_segments(tmp_path / "missing") == 0


def test_a_node_frees_what_a_killed_camera_left_behind(
    context: object, start_node: Callable[..., NodeProcess], engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a domain of their own, since Fast DDS does not always find a new process that gets the ports of a killed one.
    monkeypatch.setenv("ROS_DOMAIN_ID", str(free_domain()))

    def segments(pid: int) -> set[Path]:
        """Those that are the process's own: it maps those of whom it hears as well, but holds no lock on them."""
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        held = {int(fields[5].rsplit(":", 1)[1]) for fields in locks if fields[4] == str(pid)}
        found = SHARED_MEMORY.glob("fastrtps_" + "[0-9a-f]" * 16)
        return {path for path in found if lock_of(path).exists() and lock_of(path).stat().st_ino in held}

    def fits_images(paths: set[Path]) -> bool:
        return any(path.stat().st_size >= 64 << 20 for path in paths)

    cameras = [Peer("camera", f"/killed/camera_{number}/image", "--rate", 20) for number in range(2)]
    try:
        for camera in cameras:
            wait_until(lambda pid=camera.process.pid: fits_images(segments(pid)), "the camera's shared memory")
        dead, living = (segments(camera.process.pid) for camera in cameras)
        cameras[0].kill()
        for path in dead | living:
            assert path.exists()
            os.utime(lock_of(path), LONG_AGO)
        node = start_node("/killed", engine=engine)
        node.says("MiB of shared memory that processes which were killed had left behind")
        assert not any(path.exists() or lock_of(path).exists() for path in dead)
        assert living and all(path.exists() and lock_of(path).exists() for path in living)
    finally:
        for camera in cameras:
            camera.end()
