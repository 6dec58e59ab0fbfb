"""The command `hybridnet`, run as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hybridnet_ros.cli import COMMANDS
from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[1]


def hybridnet(*words: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hybridnet_ros.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": "/nowhere"},
    )


def test_help_names_every_command() -> None:
    done = hybridnet("--help")
    assert done.returncode == 0
    for command, (_, purpose) in COMMANDS.items():
        assert command in done.stdout
        assert " ".join(purpose.split()[:3]) in done.stdout
    assert "hybridnet_node" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples(command: str) -> None:
    done = hybridnet(command, "--help")
    assert done.returncode == 0
    assert f"examples:\n  hybridnet {command}" in done.stdout


@pytest.mark.parametrize(
    "words", [(), ("fly",), ("demo", "--loops", "0"), ("demo", "--rate", "-3"), ("demo", "--domain", "300")]
)
def test_a_wrong_command_line_is_answered_with_usage(words: tuple[str, ...]) -> None:
    done = hybridnet(*words)
    assert done.returncode == 2
    assert "usage: hybridnet" in done.stderr
    assert "Traceback" not in done.stderr


def test_info_describes_an_engine_and_the_installation(tmp_path: Path) -> None:
    done = hybridnet("info", str(write_tiny_engine(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "tiny (3 classes) on ONNX Runtime" in done.stdout
    assert "no GPU: no NVIDIA driver" in done.stdout or "GPU " in done.stdout
    assert "TensorRT plans in " in done.stdout
    for package in ("numpy", "cv2", "onnxruntime", "rclpy", "cv_bridge"):
        assert f"  {package} " in done.stdout


def test_info_says_what_is_wrong_with_an_engine(tmp_path: Path) -> None:
    engine = write_tiny_engine(tmp_path)
    engine.write_bytes(engine.read_bytes() + b"more")
    done = hybridnet("info", str(engine))
    assert done.returncode == 1
    assert "does not match its manifest" in done.stderr
    assert "Traceback" not in done.stderr
    assert "numpy" in done.stdout, "the installation is described all the same"


def test_info_reports_packages_that_are_missing_or_broken(tmp_path: Path) -> None:
    (tmp_path / "cv_bridge.py").write_text("raise ImportError('numpy.core.multiarray failed to import')\n")
    (tmp_path / "rclpy.py").write_text("import _no_such_part\n")
    engine = write_tiny_engine(tmp_path)
    done = hybridnet("info", str(engine), path=f"{tmp_path}:{ROOT}")
    assert done.returncode == 0, done.stderr
    assert "cv_bridge       is broken, as if it were missing (OpenCV converts" in done.stdout
    assert "numpy.core.multiarray" in done.stdout
    assert "rclpy           is broken: No module named '_no_such_part'" in done.stdout


def test_demo_without_its_packages_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "rclpy.py").write_text("raise ModuleNotFoundError(\"No module named 'rclpy'\", name='rclpy')\n")
    done = hybridnet("demo", path=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert "needs the module rclpy" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
