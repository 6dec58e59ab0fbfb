"""OpenVINO as a runtime: it answers as ONNX Runtime does, and only where it is asked to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hybridnet_ros.engine import EngineError, Prediction, open_engine
from hybridnet_ros.engine.openvino_engine import OpenVinoSession, has_bfloat16
from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    """A real frame, uint8 [1, H, W, 3]."""
    file = sorted((ROOT / "engines" / "images").glob("*.jpg"))[0]
    return cv2.imread(str(file))[np.newaxis, :, :, ::-1]


def differences(expected: Prediction, found: Prediction) -> tuple[float, float]:
    """Share of labels that differ, and mean relative difference of depth."""
    relative = np.abs(found.depth - expected.depth) / expected.depth
    return float(np.mean(found.labels != expected.labels)), float(np.mean(relative))


def test_the_driving_network_answers_as_in_onnx_runtime(frame: NDArray[np.uint8]) -> None:
    with open_engine("driving", "onnx_cpu") as reference, open_engine("driving", "openvino") as engine:
        assert engine.runtime == "openvino"
        assert "OpenVINO" in engine.description
        assert ("bfloat16" if has_bfloat16() else "float32") in engine.description
        labels, depth = differences(reference.predict(frame, fx=721.5), engine.predict(frame, fx=721.5))
    assert labels < (0.05 if has_bfloat16() else 0.001)
    assert depth < (0.03 if has_bfloat16() else 0.001)


def test_sizes_and_batches_may_change_from_call_to_call(tmp_path: Path) -> None:
    path = write_tiny_engine(tmp_path)
    random = np.random.default_rng(1)
    with open_engine(path, "onnx_cpu") as reference, open_engine(path, "openvino") as engine:
        for count, height, width in [
            (1, 32, 64),
            (3, 32, 64),
            (1, 45, 33),
            *((1, 32, 32 * n) for n in range(1, 11)),
            (1, 32, 64),
        ]:
            images = random.integers(0, 256, (count, height, width, 3), np.uint8)
            expected, found = reference.predict(images), engine.predict(images)
            assert found.depth.shape == (count, height, width)
            labels, depth = differences(expected, found)
            assert labels < 0.02 and depth < 0.02


def test_answers_are_the_callers_own_whatever_comes_next(tmp_path: Path) -> None:
    with open_engine(write_tiny_engine(tmp_path), "openvino") as engine:
        dark, bright = np.zeros((1, 32, 64, 3), np.uint8), np.full((1, 32, 64, 3), 255, np.uint8)
        first = engine.predict(dark)
        kept = first.depth.copy()
        engine.predict(bright)
        np.testing.assert_array_equal(first.depth, kept)
        first.depth[:] = 0.0


def test_several_threads_may_use_one_engine(tmp_path: Path) -> None:
    images = [np.full((1, 32, 64, 3), 25 * index, np.uint8) for index in range(8)]
    with open_engine(write_tiny_engine(tmp_path), "openvino") as engine:
        expected = [engine.predict(image).depth for image in images]
        wrong: list[int] = []

        def check(index: int) -> None:
            for _ in range(20):
                if not np.array_equal(engine.predict(images[index]).depth, expected[index]):
                    wrong.append(index)

        threads = [threading.Thread(target=check, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "content", [b"", b"no network", (ROOT / "engines" / "hybridnet_driving.onnx").read_bytes()[:1000]]
)
def test_what_is_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="OpenVINO cannot load .*net.onnx"):
        OpenVinoSession(content, tmp_path / "net.onnx", 1)


def test_an_image_that_the_network_cannot_take_fails_that_call_alone(frame: NDArray[np.uint8]) -> None:
    path = ROOT / "engines" / "hybridnet_driving.onnx"
    session = OpenVinoSession(path.read_bytes(), path, 2)
    with pytest.raises(EngineError, match=r"OpenVINO failed on images \[1, 33, 64, 3\]"):
        session.run(np.zeros((1, 33, 64, 3), np.uint8))
    assert session.run(np.zeros((1, 32, 64, 3), np.uint8))[0].shape == (1, 32, 64)


CHOICE = """
import sys
from hybridnet_ros.engine import EngineError, open_engine
print(open_engine(sys.argv[1]).runtime)
try:
    print(open_engine(sys.argv[1], "openvino").runtime)
except EngineError as error:
    print(error)
"""


def chosen(engine: Path, path: Path | None = None) -> list[str]:
    """What a fresh interpreter chooses and says, with `path` before everything installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(each) for each in (path, ROOT) if each)}
    done = subprocess.run([sys.executable, "-c", CHOICE, str(engine)], env=environment, cwd="/", timeout=120,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout.splitlines()


def test_it_runs_where_it_is_asked_for_and_never_unasked(tmp_path: Path) -> None:
    automatic, asked = chosen(write_tiny_engine(tmp_path))
    assert automatic.startswith("onnx_") and asked == "openvino"


def test_without_it_auto_takes_onnx_runtime_and_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so.2026 cannot be opened')\n")
    automatic, refused = chosen(write_tiny_engine(tmp_path), path=tmp_path)
    assert automatic.startswith("onnx_")
    assert "libopenvino.so.2026 cannot be opened" in refused and "pip install openvino" in refused
