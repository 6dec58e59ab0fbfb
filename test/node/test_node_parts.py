"""The parts of the node that need no ROS network: mailbox, health, CameraInfo memory, parameters, process settings."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

from hybridnet_ros.engine import open_engine
from hybridnet_ros.engine.background_build import Order
from hybridnet_ros.messages.camera_infos import CameraInfos
from hybridnet_ros.node.calibration import Calibration
from hybridnet_ros.node.frame import COMPRESSED, RAW, Frame, age_ms
from hybridnet_ros.node.gpu import gpu_values
from hybridnet_ros.node.health import Drop, Health, percentiles
from hybridnet_ros.node.mailbox import Mailbox
from hybridnet_ros.node.parameters import ParameterError, Settings, unknown_parameter, updated
from hybridnet_ros.node.pipeline import Pipeline
from hybridnet_ros.node.plan_builder import PlanBuilder
from hybridnet_ros.node.process import DDS_PROFILE_VARIABLES, set_dds_profile, shared_memory_warning
from hybridnet_ros.node.troubles import Level, Troubles
from hybridnet_ros.node.watchdog import Watchdog
from hybridnet_ros.node.worker import Worker

ROOT = Path(__file__).resolve().parents[2]


def test_mailbox_holds_the_newest_item_and_counts_the_replaced() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take() == []
    assert [box.put(number) for number in (1, 2, 3)] == [None, 1, 2]
    assert box.replaced == 2
    assert box.take() == [3]
    assert box.take() == []


def test_mailbox_wakes_its_worker_for_an_item_and_for_the_end() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def work() -> None:
        while box.wait() and not box.closed:
            taken.extend(box.take())

    worker = threading.Thread(target=work)
    worker.start()
    box.put(7)
    while not taken:
        pass
    box.close()
    worker.join(10)
    assert not worker.is_alive()
    assert taken == [7]
    assert not Mailbox().wait(timeout=0.01)


def test_health_accounts_for_every_frame() -> None:
    health = Health()
    for _ in range(10):
        health.received(Frame(Image(), RAW))
    for cause in (Drop.REPLACED, Drop.REPLACED, Drop.BAD_IMAGE):
        health.dropped(cause)
    health.answered(Frame(Image(), RAW))
    values = dict(health.values())
    assert (values["frames received"], values["frames answered"], values["frames in flight"]) == ("10", "1", "6")
    assert (values["frames dropped"], values["dropped: replaced by a newer one"]) == ("3", "2")


def test_rates_fall_when_frames_end() -> None:
    now = 100.0
    health = Health(clock=lambda: now)
    assert health.seconds_since_image() is None
    for _ in range(40):
        now += 0.1
        health.received(Frame(Image(), RAW))
    assert float(dict(health.values())["input rate (Hz)"]) == pytest.approx(10, rel=0.05)
    now += 20
    assert dict(health.values())["input rate (Hz)"] == "0.00"
    assert health.seconds_since_image() == pytest.approx(20)


def test_troubles_are_news_once_and_the_worst_comes_first() -> None:
    health = Health()
    assert health.trouble("camera_info", Level.WARN, "no CameraInfo")
    assert not health.trouble("camera_info", Level.WARN, "no CameraInfo")
    assert health.trouble("no image", Level.STALE, "no image")
    assert health.trouble("engine", Level.ERROR, "no engine")
    assert [trouble.level for trouble in health.troubles()] == [Level.ERROR, Level.STALE, Level.WARN]
    health.trouble("QoS", Level.WARN, "a subscriber cannot hear us", lasting=True)
    health.start_afresh()
    assert [trouble.text for trouble in health.troubles()] == ["no engine", "a subscriber cannot hear us"]
    assert health.clear_trouble("engine")
    assert not health.clear_trouble("engine")


def test_ages_of_long_ago_are_not_held_against_the_node() -> None:
    now = 100.0
    health = Health(clock=lambda: now)
    assert health.age_p95_ms() is None
    for _ in range(20):
        now += 1.0
        health.answered(Frame(Image(), RAW, age_ms=3000.0))
    assert health.age_p95_ms() == 3000
    for _ in range(12):
        now += 1.0
        health.answered(Frame(Image(), RAW, age_ms=20.0))
    assert health.age_p95_ms() == 20, "in time again"
    now += 60.0
    assert health.age_p95_ms() is None, "nobody asks for answers any more"


def test_frames_from_before_a_jump_of_the_clock_have_no_age() -> None:
    health = Health()
    before = Frame(Image(), RAW, transport_ms=80_000.0, age_ms=80_020.0)
    health.received(before)
    health.forget_ages()
    health.answered(before)
    assert health.age_p95_ms() is None
    assert "transport p50/p95/p99 (ms)" not in dict(health.values())
    health.answered(Frame(Image(), RAW, transport_ms=2.0, age_ms=20.0))
    assert health.age_p95_ms() == 20
    assert dict(health.values())["transport p50/p95/p99 (ms)"] == "2.0 / 2.0 / 2.0"


class Busy(Worker):
    """A worker whose frame has been in work for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def busy_s(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("worker", "timeout", "said"),
    [
        (Busy(0.0), 10.0, "the engine that did not return is back"),
        (Busy(0.2), 10.0, "the engine that did not return is back"),  # with a newer frame in work
        (Busy(31.0), 0.0, "inference_timeout was changed"),
        (Busy(31.0), 100.0, "inference_timeout was changed"),
        (None, 10.0, "left behind"),
    ],
)
def test_the_watchdog_says_why_it_is_content_again(
    worker: Worker | None, timeout: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = Troubles()
    watchdog = Watchdog(troubles, logging.getLogger("node"))
    watchdog.check(Busy(30.0), 10.0)
    assert [trouble.level for trouble in troubles.troubles()] == [Level.ERROR]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        watchdog.check(worker, timeout)
    assert troubles.troubles() == []
    assert said in caplog.text


def test_a_plan_that_cannot_be_begun_is_a_warning_until_the_engine_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    troubles = Troubles()
    builder = PlanBuilder(troubles, logging.getLogger("node"), lambda order: None)
    order = Order("driving", ((1242, 375),))
    builder.want(order)
    builder.want(order)
    troubles.keep_lasting()
    assert ["no TensorRT plan could be built" in trouble.text for trouble in troubles.troubles()] == [True]
    assert builder.progress() is None
    builder.stop()
    assert troubles.troubles() == []


def test_percentiles() -> None:
    assert percentiles([3.0]) == "3.0 / 3.0 / 3.0"
    assert percentiles([float(value) for value in range(101)]) == "50.0 / 95.0 / 99.0"


def test_age_is_unknown_without_stamp_or_clock() -> None:
    assert age_ms(Time(sec=1, nanosec=500_000_000), 2_000_000_000) == 500
    assert age_ms(Time(), 2_000_000_000) is None
    assert age_ms(Time(sec=1), 0) is None


def info(sec: int, frame_id: str = "camera") -> CameraInfo:
    message = CameraInfo()
    message.header.stamp.sec, message.header.frame_id = sec, frame_id
    return message


def test_camera_info_is_found_by_stamp_then_by_frame() -> None:
    infos = CameraInfos()
    assert infos.match(info(1).header) is None
    sent = [info(sec) for sec in range(1, 101)]
    for message in sent:
        infos.add(message)
    assert infos.match(info(95).header) is sent[94]
    assert infos.match(info(5).header) is sent[-1], "forgotten: the newest stands in"
    assert infos.match(info(101).header) is sent[-1], "not there yet: the newest stands in"
    assert infos.match(info(101, "other").header) is sent[-1], "the only camera there is, by another name"
    infos.add(info(102, "second"))
    assert infos.match(info(101, "other").header) is None
    assert infos.match(info(103).header) is sent[-1]
    assert infos.frames() == ["camera", "second"]
    infos.clear()
    assert infos.match(info(100).header) is None


def test_the_first_camera_info_is_waited_for() -> None:
    infos = CameraInfos()
    late = threading.Timer(0.05, infos.add, [info(1)])
    late.start()
    infos.wait_for(info(2).header, timeout=10)
    assert infos.match(info(2).header) is not None


def calibrated(sec: int, width: int, height: int, fx: float) -> CameraInfo:
    message = info(sec)
    message.width, message.height = width, height
    message.k = [fx, 0.0, width / 2, 0.0, fx, height / 2, 0.0, 0.0, 1.0]
    return message


def test_the_first_image_of_another_size_waits_for_its_own_camera_info() -> None:
    """A camera that crops from then on keeps its focal length; as resized, depth would be half of what it is."""
    inputs = SimpleNamespace(camera_info_published=lambda: True, topics={RAW: "/image_raw"}, info_topic="/camera_info")
    infos = CameraInfos()
    calibration = Calibration(cast(Any, inputs), infos, Health(), log=None)

    def fx(sec: int, width: int, height: int) -> float:
        camera = calibration.camera(info(sec).header, width, height, training_fx=1.0)
        assert camera is not None
        return camera.model.fx

    infos.add(calibrated(1, 1280, 720, 900.0))
    assert fx(1, 1280, 720) == 900
    late = threading.Timer(0.05, infos.add, [calibrated(2, 640, 360, 900.0)])
    late.start()
    assert fx(2, 640, 360) == 900
    assert fx(3, 640, 360) == 900, "of the same size: the one before stands in at once"
    # The image before has none of its own, so that there is nothing to wait for: taken as resized.
    assert fx(4, 320, 180) == 450


def test_a_camera_is_made_anew_only_when_its_camera_info_says_something_else() -> None:
    inputs = SimpleNamespace(camera_info_published=lambda: True, topics={RAW: "/image_raw"}, info_topic="/camera_info")
    infos, health = CameraInfos(), Health()
    calibration = Calibration(cast(Any, inputs), infos, health, log=SimpleNamespace(warning=print, info=print))

    def camera(message: CameraInfo, width: int = 640, frame_id: str = "camera") -> Any:
        infos.add(message)
        header = info(message.header.stamp.sec, frame_id).header
        return calibration.camera(header, width, width // 2, training_fx=1.0)

    first = camera(calibrated(1, 640, 320, 500.0))
    assert first.model.fx == 500
    assert camera(calibrated(2, 640, 320, 500.0)) is first
    assert camera(calibrated(3, 640, 320, 510.0)).model.fx == 510
    assert camera(calibrated(4, 640, 320, 510.0), width=320).model.fx == 255
    assert camera(calibrated(5, 640, 320, 510.0), width=320, frame_id="left").frame_id == "left"
    assert camera(calibrated(6, 640, 320, 0.0)) is None, "not calibrated any more"
    assert health.has_trouble("camera_info")
    assert camera(calibrated(7, 640, 320, 500.0)).model.fx == 500
    assert not health.has_trouble("camera_info")
    assert dict(health.values())["frames with an unusable CameraInfo"] == "1"


def test_an_image_that_comes_on_both_transports_is_answered_once(engine: Path) -> None:
    health = Health()
    with open_engine(engine) as opened:
        camera = SimpleNamespace(name="", health=health, outputs=SimpleNamespace(wanted=lambda: []))
        pipeline = Pipeline({"": camera}, Settings, now_ns=lambda: 0, log=None, on_failing=lambda reason: None)
        for sec, transport in ((1, RAW), (1, COMPRESSED), (2, COMPRESSED), (2, RAW), (2, RAW), (3, RAW)):
            message = Image()
            message.header.stamp.sec = sec
            pipeline.process(opened, [Frame(message, transport)])
    values = dict(health.values())
    assert values["dropped: seen on the other transport"] == "2"
    assert values["dropped: no subscriber"] == "4", "a camera may send the same stamp twice"


def test_the_shipped_parameter_file_lists_every_parameter_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "config" / "hybridnet.yaml").read_text())["/**"]["ros__parameters"]
    assert "use_sim_time" not in shipped, "it would win over a launch file's SetParameter"
    defaults = vars(Settings())
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in shipped.items()} == defaults
    types = {name: list if isinstance(value, tuple) else type(value) for name, value in defaults.items()}
    assert {name: type(value) for name, value in shipped.items()} == types


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"min_depth": 90.0}, "min_depth"),
        ({"color_min_depth": 90.0, "color_max_depth": 80.0}, "color_max_depth"),
        ({"input_transport": "theora"}, "auto, raw, compressed"),
        ({"runtime": "tpu"}, "onnx_cpu"),
    ],
)
def test_settings_that_contradict_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ParameterError, match=word):
        updated(Settings(), change.items(), active=False)


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [
        (0.0, 0.0, (0.6, 10.0)),
        (2.0, 0.0, (2.0, 10.0)),
        (0.0, 5.0, (0.6, 5.0)),
        (2.0, 5.0, (2.0, 5.0)),
        (12.0, 0.0, (12.0, 24.0)),
        (0.0, 0.5, (0.25, 0.5)),
    ],
)
def test_depth_colours_are_the_engines_where_nothing_else_is_wanted(
    near: float, far: float, expected: tuple[float, float]
) -> None:
    settings = updated(Settings(), {"color_min_depth": near, "color_max_depth": far}.items(), active=False)
    assert settings.depth_colors((0.6, 10.0)) == expected


def test_settings_change_when_they_may() -> None:
    changes = {"engine": "other", "max_depth": 10.0, "somebody.elses": 1}
    settings = updated(Settings(), changes.items(), active=False)
    assert (settings.engine, settings.max_depth, settings.min_depth) == ("other", 10.0, Settings().min_depth)
    with pytest.raises(ParameterError, match="next configure"):
        updated(settings, [("cameras", ["left", "right"])], active=True)
    assert updated(settings, [("cameras", [""])], active=True) == settings


def test_a_misspelt_parameter_is_noticed() -> None:
    assert unknown_parameter("max_dept") == "there is no parameter 'max_dept'; did you mean 'max_depth'?"
    assert unknown_parameter("max_depth") is None
    assert unknown_parameter("use_sim_time") is None
    assert unknown_parameter("qos_overrides./image.subscription.depth") is None


def test_the_dds_profile_is_set_unless_the_user_chose_one() -> None:
    environment: dict[str, str] = {}
    set_dds_profile(environment)
    assert set(environment) == set(DDS_PROFILE_VARIABLES)
    assert {Path(path) for path in environment.values()} == {ROOT / "config" / "fastdds.xml"}
    for variable in DDS_PROFILE_VARIABLES:
        environment = {variable: "/my/profile.xml"}
        set_dds_profile(environment)
        assert environment == {variable: "/my/profile.xml"}


@pytest.mark.parametrize(
    ("mebibytes", "profile", "warns"),
    [(24_000, "fastdds.xml", False), (64, "fastdds_small.xml", False), (32, "fastdds_small.xml", True)],
)
def test_the_dds_profile_fits_the_shared_memory(
    monkeypatch: pytest.MonkeyPatch, mebibytes: int, profile: str, warns: bool
) -> None:
    machine = SimpleNamespace(f_blocks=mebibytes << 8, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: machine)
    environment: dict[str, str] = {}
    set_dds_profile(environment)
    assert {Path(path).name for path in environment.values()} == {profile}
    assert ("--shm-size" in str(shared_memory_warning())) == warns


def test_the_dds_profiles_differ_in_size_only() -> None:
    large, small = ((ROOT / "config" / name).read_text() for name in ("fastdds.xml", "fastdds_small.xml"))
    body = large[large.index("<dds") :]
    assert "<segment_size>67108864<" in body
    assert small[small.index("<dds") :] == body.replace("67108864", "16777216")


def test_the_gpu_is_on_diagnostics_where_it_can_be_read_and_absent_elsewhere() -> None:
    values = dict(gpu_values())
    assert not values or values.keys() == {"GPU", "GPU memory used (MiB)", "GPU temperature (C)"}
    has_driver = Path("/dev/nvidiactl").exists() and importlib.util.find_spec("pynvml") is not None
    assert bool(values) == has_driver
