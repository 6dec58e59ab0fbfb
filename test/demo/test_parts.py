"""The demo's parts: reading the drive, keeping to a domain, child processes, progress."""

from __future__ import annotations

import io
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from hybridnet_ros.demo.recording import IMAGE_TOPIC, LIDAR_TOPIC, read_frames, read_messages
from hybridnet_ros.demo.run import Run
from hybridnet_ros.node.player import CameraFrame, schedule
from hybridnet_ros.node.recorder import Answer
from hybridnet_ros.offline.bag import BagError, open_bag
from hybridnet_ros.processes import Process, ProcessDied, free_domain
from hybridnet_ros.resources import share_path
from hybridnet_ros.terminal import Progress


@pytest.fixture
def demo_bag() -> Path:
    return share_path("demo", "kitti_sequence")


def test_frames_have_an_image_and_sparse_lidar_depth(demo_bag: Path) -> None:
    frames = read_frames(demo_bag, most=3)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image.shape == (375, 1242, 3) and frame.image.dtype == np.uint8
        assert frame.lidar.shape == (375, 1242) and frame.lidar.dtype == np.float32
        measured = frame.lidar[np.isfinite(frame.lidar)]
        assert 10_000 < measured.size < 25_000
        assert measured.min() > 1 and measured.max() < 65.536
    # The road in front of the car is a few metres away, and red, green and blue are not exchanged: the lorry is red.
    assert 4 < np.nanmedian(frames[0].lidar[360:, 500:700]) < 9
    red, green, blue = frames[0].image[265:275, 248:288].reshape(-1, 3).mean(0)
    assert red > 1.5 * max(green, blue)


def test_messages_are_the_frames_in_order_with_their_times(demo_bag: Path) -> None:
    messages = read_messages(demo_bag, most=4)
    assert [round(offset_s, 3) for offset_s, _, _ in messages] == [0.0, 0.1, 0.2, 0.3]
    with open_bag(demo_bag) as bag:
        assert messages[0][1] == next(bag.raw(IMAGE_TOPIC)).message


def test_a_bag_whose_lidar_does_not_fit_its_images_is_refused(demo_bag: Path, tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS2_HUMBLE)
    kind = "sensor_msgs/msg/CompressedImage"
    with (
        open_bag(demo_bag) as bag,
        Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        topics = {name: writer.add_connection(name, kind, typestore=types) for name in (IMAGE_TOPIC, LIDAR_TOPIC)}
        images, depths = list(bag.raw(IMAGE_TOPIC))[:2], list(bag.raw(LIDAR_TOPIC))[:1]
        for stamp_ns, name, data in [*images, *depths]:
            writer.write(topics[name], stamp_ns, data)
    with pytest.raises(BagError, match="1 of 2 images have no message with their stamp on /lidar/depth/compressed"):
        read_frames(tmp_path / "bag")


def test_a_recording_is_repeated_without_a_break() -> None:
    frames = [CameraFrame(index, index * 0.1, b"", b"") for index in range(3)]
    times = [(round(due_s, 3), frame.index) for due_s, frame in schedule(frames, rate=None, loops=2)]
    assert times == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 0), (0.4, 1), (0.5, 2)]
    faster = [round(due_s, 3) for due_s, _ in schedule(frames, rate=50, loops=2)]
    assert faster == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]


def test_an_answer_that_outruns_the_players_word_counts() -> None:
    def answer(stamp_ns: int, age_ms: float) -> Answer:
        return Answer(stamp_ns, age_ms, np.zeros((1, 1), np.float32), *[np.zeros((1, 1), np.uint8)] * 2, None)

    run = Run(sent={100: 0})
    run.note([answer(100, 5.0), answer(200, 6.0)])
    assert run.ages_ms == {100: 5.0}
    run.sent[200] = 1
    run.note([])
    assert run.ages_ms == {100: 5.0, 200: 6.0}
    assert set(run.newest) == {0, 1} and not run.strays


def test_a_domain_that_is_in_use_is_not_taken() -> None:
    taken = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 7400 + 250 * taken))
        assert taken not in {free_domain() for _ in range(300)}


def test_a_process_talks_and_ends_when_told(tmp_path: Path) -> None:
    program = "import sys; print('ready', flush=True); print('heard', input(), flush=True); sys.stdin.read()"
    with Process("echo", [sys.executable, "-c", program], tmp_path / "log", pipes=True) as process:
        process.check_alive()
        process.say("go")
        assert process.finish() == 0
    assert list(process.lines) == ["ready", "heard go"]


def test_a_process_that_died_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    program = "import sys; print('\\n'.join(map(str, range(50))), flush=True); sys.exit('out of luck')"
    with Process("gambler", [sys.executable, "-c", program], tmp_path / "log") as process:
        while process.exit_code is None:
            time.sleep(0.01)
        with pytest.raises(
            ProcessDied, match=r"gambler ended with exit code 1; the end of .*log:\n(    \d+\n)+    out of luck"
        ):
            process.check_alive()


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybridnet_ros.processes._PATIENCE_S", 0.5)
    program = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    )
    with Process("deaf", [sys.executable, "-c", program], tmp_path / "log") as process:
        while not process.log.read_text():
            process.check_alive()
        assert process.stop() == -9


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_many_in_a_log() -> None:
    for stream, expected in ((Terminal(), "\rlong line\rline     \n"), (io.StringIO(), "long line\nline\n")):
        progress = Progress(stream)
        progress.show("long line")
        progress.show("too soon")
        progress.show("line", now=True)
        progress.show("line", now=True)
        progress.close()
        assert stream.getvalue() == expected
