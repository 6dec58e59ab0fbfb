"""`hybridnet view`: the video plays what was recorded, and the file for the rerun viewer has everything in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hybridnet_ros import cli
from hybridnet_ros.engine import open_engine
from hybridnet_ros.offline.seeing import Recording as Seeing
from hybridnet_ros.offline.seeing import side_by_side
from hybridnet_ros.offline.video import VideoError, VideoFile
from hybridnet_ros.scene.colors import colorize_depth
from recordings import HEIGHT, IMAGE, INFO, WIDTH, Recording, picture
from tiny import TINY_FX, write_tiny_engine

FRAMES = 6
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Six images at 5 Hz, with CameraInfo."""
    with Recording(tmp_path / "drive") as bag:
        for number in range(FRAMES):
            bag.info(INFO, number * 0.2, 2 * TINY_FX)
            bag.image(IMAGE, number * 0.2, picture(number), "rgb8")
    return tmp_path / "drive"


def view(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["view", *map(str, words)])
    return int(end.value.code or 0)


def test_the_video_is_h264_at_the_recorded_speed(drive: Path, tiny_engine: Path, tmp_path: Path) -> None:
    assert view(drive, "--engine", tiny_engine, "--mp4", tmp_path / "out.mp4") == 0
    with av.open(str(tmp_path / "out.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = list(video.decode(stream))
    times = np.array([frame.time for frame in frames]) - frames[0].time
    np.testing.assert_allclose(times, np.arange(FRAMES) * 0.2, atol=0.002)
    with open_engine(tiny_engine) as engine:
        seen = next(iter(Seeing(drive).look(engine, 0.1, 80.0)))
    expected = side_by_side(seen, engine.manifest)
    shown = frames[0].to_ndarray(format="rgb24")
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 6  # the codec loses a little
    assert not list(tmp_path.glob(".*.mp4"))


def test_a_wide_image_is_stacked_and_a_tall_one_is_put_in_a_row(drive: Path, tiny_engine: Path) -> None:
    with open_engine(tiny_engine) as engine:
        seen = next(iter(Seeing(drive).look(engine, 0.1, 80.0)))
    row = side_by_side(seen, engine.manifest)
    assert row.shape == (HEIGHT, 3 * WIDTH, 3)
    np.testing.assert_array_equal(row[:, :WIDTH], seen.rgb)
    np.testing.assert_array_equal(row[:, WIDTH : 2 * WIDTH], colorize_depth(seen.view.depth))
    assert side_by_side(seen, engine.manifest, width=101).shape == (22, 100, 3)


def test_the_file_for_the_viewer_has_image_depth_labels_and_points(
    drive: Path, tiny_engine: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.rrd"
    assert view(drive, "--engine", tiny_engine, "--save", path, "--every", 1) == 0
    reading = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "stats", str(path)], capture_output=True, text=True, check=True
    )
    for entity in ("/camera/image", "/camera/depth", "/camera/labels", "/camera/confidence", "/points"):
        assert f"\n{entity}: " in reading.stdout, reading.stdout


def test_only_the_first_frames_on_request(drive: Path, tiny_engine: Path, tmp_path: Path) -> None:
    assert view(drive, "--engine", tiny_engine, "--mp4", tmp_path / "out.mp4", "--frames", 2) == 0
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert len(list(video.decode(video=0))) == 2


def test_points_are_where_the_camera_says(drive: Path, tiny_engine: Path) -> None:
    with open_engine(tiny_engine) as engine:
        assert [seen.camera.fx for seen in Seeing(drive).look(engine, 0.1, 80.0)] == [2 * TINY_FX] * FRAMES
        images = drive.parent / "images"
        images.mkdir()
        cv2.imwrite(str(images / "0.png"), picture(0))
        assert [seen.camera for seen in Seeing(images).look(engine, 0.1, 80.0)] == [None]
        (seen,) = Seeing(images, fx=100.0).look(engine, 0.1, 80.0)
        assert (seen.camera.fx, seen.camera.cx, seen.camera.cy) == (100.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def test_a_damaged_image_is_left_out_and_counted(
    drive: Path, tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), picture(number))
    (images / "1.png").write_bytes(b"no picture")
    assert view(images, "--engine", tiny_engine, "--mp4", tmp_path / "out.mp4") == 0
    printed = capsys.readouterr()
    assert "could not be decoded: 1 images" in printed.err
    assert "2 frames" in printed.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mp4", "out.avi"], "let it end in .mp4"),
        (["--mp4", "nowhere/out.mp4"], "cannot write nowhere/out.mp4"),
        (["--save", "nowhere/out.rrd"], "nowhere/out.rrd"),
        (["--topic", "/none", "--mp4", "out.mp4"], "its image topics are: /camera/image_rect"),
        (["--min-depth", "9", "--max-depth", "8", "--mp4", "out.mp4"], "must be less than --max-depth"),
    ],
)
def test_what_cannot_be_done_is_said(
    drive: Path,
    tiny_engine: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(drive.parent)
    assert view("drive", "--engine", tiny_engine, *words) == 1
    assert said in capsys.readouterr().err


def test_an_interrupted_video_keeps_what_it_has(tmp_path: Path) -> None:
    gray = np.full((32, 64, 3), 128, np.uint8)
    with pytest.raises(KeyboardInterrupt), VideoFile(tmp_path / "out.mp4") as video:
        video.add(gray, 0)
        video.add(gray, 0)  # a stamp that stands still
        raise KeyboardInterrupt
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert len(list(written.decode(video=0))) == 2


@pytest.mark.parametrize("target", ["--mp4", "--save"])
def test_ctrl_c_keeps_what_was_shown(tmp_path: Path, target: str) -> None:
    """A real process, stopped by the signal of a terminal once it has shown some of the frames."""
    engine = write_tiny_engine(tmp_path, "slow", work=16)
    with Recording(tmp_path / "drive") as bag:
        for number in range(400):
            bag.info(INFO, number * 0.2, 2 * TINY_FX)
            bag.image(IMAGE, number * 0.2, picture(number), "rgb8")
    path = tmp_path / f"out.{'mp4' if target == '--mp4' else 'rrd'}"
    command = [sys.executable, "-m", "hybridnet_ros.cli", "view", str(tmp_path / "drive"), "--engine", str(engine)]
    process = subprocess.Popen(
        [*command, target, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    while " of 400 frames" not in first:  # what else a library says at its start
        assert first, "it ended before the first frame"
        first = process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, first + said
    assert "stopped; what was done before is kept" in said
    assert "Traceback" not in said
    if target == "--mp4":
        with av.open(str(path)) as video:
            assert 0 < len(list(video.decode(video=0))) < 400
    else:
        reading = subprocess.run(
            [sys.executable, "-m", "rerun", "rrd", "stats", str(path)], capture_output=True, text=True, check=True
        )
        assert "\n/camera/image: " in reading.stdout
    assert [each for each in tmp_path.iterdir() if ".tmp" in each.name] == []


def test_a_video_has_one_size(tmp_path: Path) -> None:
    with (
        pytest.raises(VideoError, match="change their size from 64x32 to 32x32"),
        VideoFile(tmp_path / "a.mp4") as video,
    ):
        video.add(np.zeros((32, 64, 3), np.uint8), 0)
        video.add(np.zeros((32, 32, 3), np.uint8), 1)


def test_nothing_to_write_is_no_file(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
