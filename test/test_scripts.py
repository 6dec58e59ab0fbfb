"""What the scripts do before they install anything."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def bash(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . scripts/environment.sh; {program}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/endurance", "scripts/test", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", path], check=True)


def test_an_unfit_python_is_refused() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "demo"],
        env={**os.environ, "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "demo: PYTHON=/bin/false is not a Python 3.10 to 3.13\n"


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    for tool in ("dirname", "basename", "bash"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    done = bash("find_python", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no Python 3.10 to 3.13 found (python3 is " in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_a_sourced_ros_installation_is_left_and_the_rest_kept() -> None:
    done = bash(
        'leave_ros; echo "$LD_LIBRARY_PATH|${PYTHONPATH:-}|${AMENT_PREFIX_PATH:-}|${RMW_IMPLEMENTATION:-}"',
        AMENT_PREFIX_PATH="/home/me/ws/install/mine:/opt/ros/jazzy",
        LD_LIBRARY_PATH="/opt/ros/jazzy/opt/rviz_ogre_vendor/lib:/usr/local/cuda/lib64:/opt/ros/jazzy/lib",
        PYTHONPATH="/opt/ros/jazzy/lib/python3.12/site-packages",
        RMW_IMPLEMENTATION="rmw_cyclonedds_cpp",
    )
    assert done.returncode == 0, done.stderr
    assert "a ROS installation is sourced" in done.stdout
    assert done.stdout.splitlines()[-1] == "/usr/local/cuda/lib64|||"


def test_without_ros_the_environment_stays_as_it_is() -> None:
    done = bash('leave_ros; echo "$LD_LIBRARY_PATH|$PYTHONPATH"', LD_LIBRARY_PATH="/a", PYTHONPATH="/b")
    assert done.stdout == "/a|/b\n"
