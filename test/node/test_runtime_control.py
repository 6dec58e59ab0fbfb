"""Engine, rate limit, outputs and thresholds change while the node runs; what cannot change says why."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import Image

from hybridnet_ros.engine import Engine, EngineError, open_engine
from hybridnet_ros.node.camera import RateLimiter
from hybridnet_ros.node.diagnostics import beyond_thresholds
from hybridnet_ros.node.frame import RAW, Frame
from hybridnet_ros.node.health import Drop, Health
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.troubles import Level
from hybridnet_ros.node.worker import Batching, Worker
from ros_testing import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess, Robot, gray, image_of, wait_until
from tiny import TINY_FX, tiny_manifest, write_tiny_engine

StartNode = Callable[..., NodeProcess]
MakeRobot = Callable[..., Robot]


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """The tiny engine, trained with a camera of half the focal length: it sees everything twice as far away."""
    path = write_tiny_engine(tmp_path, "twin")
    dataclasses.replace(tiny_manifest(path), fx=TINY_FX / 2).save(path.with_suffix(".json"))
    return path


def test_another_engine_takes_over_between_two_frames(
    start_node: StartNode, make_robot: MakeRobot, engine: Path, twin: Path, tmp_path: Path
) -> None:
    node = start_node("/swapped", engine=engine, max_depth=500.0, diagnostics_period=0.1)
    camera = make_robot("/swapped")
    camera.listen(Image, "depth/image")
    camera.ready()
    header = camera.header()
    camera.send_info(header, 192, 128, fx=2 * TINY_FX)
    camera.answer(camera.send(gray(0.25), header=header).header)

    def depth() -> float:
        return float(image_of(camera.answer(camera.send(gray(0.25)).header)).mean())

    first = depth()
    assert camera.set_parameter("engine", str(twin)).successful
    seen = []

    def changed() -> bool:
        seen.append(depth())
        return seen[-1] > 1.5 * first

    wait_until(changed, "the other engine to answer")
    np.testing.assert_allclose(seen[:-1], first, rtol=1e-5)
    np.testing.assert_allclose(seen[-1], 2 * first, rtol=1e-5)
    node.says(f"engine '{twin}' answers from now on")
    assert camera.status().hardware_id == str(twin)

    missing = tmp_path / "missing.onnx"
    refused = camera.set_parameter("engine", str(missing))
    assert not refused.successful
    assert f"there is no engine {missing}" in refused.reason

    corrupt = write_tiny_engine(tmp_path, "corrupt")
    corrupt.write_bytes(corrupt.read_bytes()[:-100])
    assert camera.set_parameter("engine", str(corrupt)).successful, (
        "it is there; what is in it is seen when it is opened"
    )
    node.says(f"engine '{corrupt}' was not taken, '{twin}' goes on")
    assert "does not match its manifest" in camera.status().message
    np.testing.assert_allclose(depth(), 2 * first, rtol=1e-5)
    wait_until(lambda: camera.get_parameter("engine") == str(twin), "the parameter to say what runs")

    # All parameters go back together, and no engine is opened for that.
    assert camera.set_parameter("runtime", "onnx_cuda").successful
    wait_until(lambda: "onnx_cuda" in camera.status().message, "the refusal")
    wait_until(lambda: camera.get_parameter("runtime") == "auto", "the parameter to say what runs")
    opened = node.log().count("opening engine")
    np.testing.assert_allclose(depth(), 2 * first, rtol=1e-5)
    assert "was not taken" in camera.status().message and node.log().count("opening engine") == opened

    # Asked for again, the first one takes over, and the warning is gone.
    assert camera.set_parameter("engine", str(engine)).successful
    wait_until(lambda: abs(depth() / first - 1) < 1e-5, "the first engine")
    assert "was not taken" not in camera.status().message
    assert node.stop() == 0
    assert "Traceback" not in node.log()


class Recording:
    """A processor that notes which engine each frame was given to."""

    def __init__(self) -> None:
        self.seen: list[Engine] = []

    def batching(self, engine: Engine) -> Batching:
        return Batching()

    def process(self, engine: Engine, frames: list[Frame]) -> None:
        engine.predict(gray(0.5)[None])  # fails if it were closed already
        self.seen.append(engine)

    def abandon(self) -> None:
        raise AssertionError("the engine returns from every frame")


def test_the_old_engine_answers_until_the_new_one_is_open(engine: Path) -> None:
    worker, recording = Worker(lambda: open_engine(engine)), Recording()
    old = worker.engine()
    worker.attach(recording)
    opening, may_open, done = threading.Event(), threading.Event(), Future()

    def open_slowly() -> Engine:
        opening.set()
        assert may_open.wait(60)
        return open_engine(engine)

    def answered_by() -> Engine:
        count = len(recording.seen)
        worker.mailbox.put(Frame(Image(), RAW))
        wait_until(lambda: len(recording.seen) > count, "the frame to be processed")
        return recording.seen[-1]

    worker.swap(open_slowly, done.set_result)
    assert opening.wait(60)
    assert [answered_by() for _ in range(5)] == [old] * 5
    may_open.set()
    new = done.result(60).result()
    assert worker.engine() is new
    assert [answered_by() for _ in range(5)] == [new] * 5
    with pytest.raises(EngineError, match="closed"):
        wait_until(lambda: old.predict(gray(0.5)[None]) is None, "the old engine to be closed")

    failed: Future[Future[Engine]] = Future()
    worker.swap(lambda: open_engine("no such engine"), failed.set_result)
    assert isinstance(failed.result(60).exception(), EngineError)
    assert answered_by() is new
    assert worker.stop()


def test_of_several_changes_the_last_one_counts_and_a_stop_ends_them_all(engine: Path) -> None:
    worker = Worker(lambda: open_engine(engine))
    worker.engine()
    opening, may_open = threading.Event(), threading.Event()
    done: list[Future[Future[Engine]]] = [Future() for _ in range(3)]

    def open_slowly() -> Engine:
        opening.set()
        assert may_open.wait(60)
        return open_engine(engine)

    worker.swap(open_slowly, done[0].set_result)
    assert opening.wait(60)
    worker.swap(lambda: open_engine("never opened, for another comes after it"), done[1].set_result)
    worker.swap(lambda: open_engine(engine), done[2].set_result)
    may_open.set()
    assert [one.result(60).cancelled() for one in done] == [True, True, False]
    assert worker.engine() is done[2].result().result()
    last: Future[Future[Engine]] = Future()
    opening.clear()
    may_open.clear()
    worker.swap(open_slowly, last.set_result)
    assert opening.wait(60)
    stopper = threading.Timer(0.1, may_open.set)
    stopper.start()
    assert worker.stop()
    assert last.result(60).cancelled()


def test_outputs_can_be_chosen_while_the_node_runs(
    start_node: StartNode, make_robot: MakeRobot, engine: Path, context: object
) -> None:
    start_node("/chosen", engine=engine, outputs="[depth/image,segmentation/mask]", diagnostics_period=0.1)
    camera = make_robot("/chosen")
    looker = Node("looker", context=context)

    def outputs() -> set[str]:
        pairs = looker.get_publisher_names_and_types_by_node("hybridnet", "/chosen")
        return {name.removeprefix("/chosen/hybridnet/") for name, _ in pairs if "/depth/" in name or "/segm" in name}

    camera.listen(Image, "depth/image", "segmentation/mask")
    camera.ready()
    assert outputs() == {"depth/image", "segmentation/mask"}
    refused = camera.set_parameter("outputs", ["depth/picture"])
    assert not refused.successful
    assert "depth/picture" in refused.reason
    assert camera.set_parameter("outputs", ["depth/image", "depth/color"]).successful
    wait_until(lambda: outputs() == {"depth/image", "depth/color"}, "the outputs chosen")
    camera.ignore("segmentation/mask")
    camera.listen(Image, "depth/color")
    camera.ready()
    camera.answer(camera.send(gray(0.5)).header, "depth/color")
    looker.destroy_node()


def test_the_rate_limit_changes_while_the_node_runs(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    start_node("/limited", engine=engine, diagnostics_period=0.1)
    camera = make_robot("/limited")
    camera.listen(Image, "depth/image")
    camera.ready()
    assert camera.set_parameter("max_rate", 0.001).successful
    assert not camera.set_parameter("max_rate", -1.0).successful
    before = int(camera.values()["dropped: rate limit"])

    def limited() -> bool:
        camera.send(gray(0.5))
        return int(camera.values()["dropped: rate limit"]) > before

    wait_until(limited, "images beyond the rate limit")
    assert camera.set_parameter("max_rate", 0.0).successful
    camera.answer(camera.send(gray(0.5)).header)


def test_thresholds_change_while_the_node_runs(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    start_node("/judged", engine=engine, diagnostics_period=0.1)
    camera = make_robot("/judged")
    camera.listen(Image, "depth/image")
    camera.ready()

    def status_with(word: str, there: bool) -> bool:
        bad = Image(header=camera.header(), width=1, height=1, step=3, encoding="rgb9")
        camera.images.publish(bad)
        return (word in camera.status().message) is there

    assert camera.set_parameter("max_drop_share", 0.01).successful
    wait_until(lambda: status_with("above max_drop_share of 1%", True), "too many lost images to be said")
    assert camera.status().level == b"\x02"
    assert camera.set_parameter("max_drop_share", 0.0).successful
    wait_until(lambda: status_with("max_drop_share", False), "the threshold to be off")


@pytest.mark.parametrize(("max_rate", "passed"), [(0.0, 300), (20.0, 200), (30.0, 300), (10.0, 100), (1.0, 10)])
def test_the_rate_limit_lets_the_right_number_through_evenly(max_rate: float, passed: int) -> None:
    limiter = RateLimiter()
    arrivals = [round(number * 1e9 / 30) for number in range(300)]  # 10 s at 30 Hz
    through = [arrival for arrival in arrivals if limiter.lets_through(arrival, max_rate)]
    assert abs(len(through) - passed) <= 2
    if max_rate:
        assert np.diff(through).max() <= 1e9 / max_rate + 1e9 / 30 + 1


def test_a_higher_rate_limit_holds_at_once() -> None:
    limiter = RateLimiter()
    assert limiter.lets_through(0, 0.001)
    assert not limiter.lets_through(10**9, 0.001)
    assert limiter.lets_through(2 * 10**9, 10.0)


def test_thresholds_warn_and_twice_as_bad_is_an_error() -> None:
    now = 100.0
    health = Health(clock=lambda: now)
    for number in range(100):
        now += 0.1
        frame = Frame(Image(), RAW, age_ms=120.0)
        health.received(frame)
        if number % 4:
            health.answered(frame)
        else:
            health.dropped(Drop.FAILED)

    def level(**thresholds: float) -> Level | None:
        found = beyond_thresholds(health, Settings(**{"max_age": 0.0, **thresholds}))
        return found[0].level if found else None

    assert level() is None
    assert [level(min_output_rate=rate) for rate in (5.0, 10.0, 20.0)] == [None, Level.WARN, Level.ERROR]
    assert [level(max_age=age) for age in (150.0, 100.0, 50.0)] == [None, Level.WARN, Level.ERROR]
    assert [level(max_drop_share=share) for share in (0.3, 0.2, 0.1)] == [None, Level.WARN, Level.ERROR]
    assert beyond_thresholds(health, Settings()) == [], "the defaults are content"
    # Nobody is late who was not asked, or only just; and ages between clocks that are apart mean nothing.
    health.dropped(Drop.NO_SUBSCRIBER)
    assert level(min_output_rate=20.0) is None
    health.trouble("clock", Level.WARN, "clocks are apart")
    assert level(max_age=50.0) is None


def test_other_cameras_take_effect_at_the_next_configure(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    node = start_node("/recabled", engine=engine, diagnostics_period=0.1)
    node.says("listening on /recabled/image and")
    operator = make_robot("/recabled")
    refused = operator.set_parameter("cameras", ["left", "right"])
    assert not refused.successful
    assert "next configure" in refused.reason
    for transition in (DEACTIVATE, CLEANUP):
        assert operator.change_state(transition)
    refused = operator.set_parameter("cameras", ["left", "left"])
    assert not refused.successful
    assert "both called 'left'" in refused.reason
    assert operator.set_parameter("cameras", ["left", "right"]).successful
    for transition in (CONFIGURE, ACTIVATE):
        assert operator.change_state(transition)
    for side in ("left", "right"):
        camera = make_robot("/recabled", camera=side)
        camera.listen(Image, "depth/image")
        camera.ready()
    assert operator.values()["cameras"] == "left, right"
    assert node.stop() == 0
