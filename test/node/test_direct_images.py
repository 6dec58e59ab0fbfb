"""Images sent and taken without rclpy's copies are, to the last bit, those that rclpy sends and takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from hybridnet_ros.messages import MessageError, fill_image
from hybridnet_ros.node import direct_images
from hybridnet_ros.node.receiver import NotForExecutor, Receiver
from ros_testing import wait_until

UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
FIELDS = st.fixed_dictionaries(
    {"height": UINT32, "width": UINT32, "encoding": TEXT, "is_bigendian": st.integers(0, 255), "step": UINT32,
     "data": st.binary(max_size=70_000)}
)  # fmt: skip


ARRAYS = {
    "32FC1": np.linspace(-1, 90, 12, dtype=np.float32).reshape(3, 4),
    "16UC1": np.arange(12, dtype=np.uint16).reshape(3, 4),
    "mono8": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "rgb8": np.arange(72, dtype=np.uint8).reshape(3, 8, 3)[:, ::2],
}


class Road:
    """A publisher of images, and two subscriptions: one for rclpy, one for us."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = Node("road", context=context)
        self.publisher = self.node.create_publisher(Image, "road", 10)
        self.theirs = self.node.create_subscription(Image, "road", lambda message: None, 10, raw=True)
        self.source = direct_images.Source(self.node.create_subscription(Image, "road", lambda message: None, 10))
        wait_until(lambda: self.publisher.get_subscription_count() == 2, "the subscriptions")

    def arrived(self) -> tuple[bytes, Any]:
        """The next message: as rclpy gives its bytes, and as we give it."""
        theirs = wait_until(lambda: self.theirs.handle.take_message(Image, True), "the image for rclpy")
        return bytes(theirs[0]), wait_until(self.source.take, "the image for us").message


@pytest.fixture(scope="module")
def road(context: rclpy.Context) -> Iterator[Road]:
    road = Road(context)
    yield road
    road.node.destroy_node()


def test_the_direct_way_is_taken_here() -> None:
    assert direct_images._direct() is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FIELDS, frame_id=TEXT, sec=st.integers(-(2**31), 2**31 - 1), nanosec=UINT32)
def test_images_go_and_come_as_rclpy_has_them(road: Road, fields: Any, frame_id: str, sec: int, nanosec: int) -> None:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = sec, nanosec
    sent = Image(header=header, **fields)
    direct_images.publish(road.publisher, sent)
    serialised, taken = road.arrived()
    assert deserialize_message(serialised, Image) == sent
    assert len(serialised) == len(serialize_message(sent)), "what is between the fields is any memory"
    assert deserialize_message(serialize_message(taken), Image) == sent


def test_arrays_are_sent_as_they_are_and_keep_their_memory(road: Road) -> None:
    arrays = [np.random.default_rng(number).random((48, 64), np.float32) for number in range(4)]
    taken = []
    for array in arrays:
        direct_images.image(road.publisher, array, "32FC1", Header()).send()
        taken.append(road.arrived()[1])
    for array, message in zip(arrays, taken, strict=True):
        np.testing.assert_array_equal(np.asarray(message.data).view(np.float32).reshape(array.shape), array)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame_id=TEXT, sec=st.integers(-(2**31), 2**31 - 1), nanosec=UINT32, encoding=st.sampled_from(sorted(ARRAYS)))
def test_arrays_go_as_the_message_made_of_them(
    road: Road, frame_id: str, sec: int, nanosec: int, encoding: str
) -> None:
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = sec, nanosec
    direct_images.image(road.publisher, ARRAYS[encoding], encoding, header).send()
    expected = serialize_message(fill_image(Image(), ARRAYS[encoding], encoding, header))
    assert deserialize_message(road.arrived()[0], Image) == deserialize_message(expected, Image)


def test_an_array_that_does_not_fit_its_encoding_is_refused(road: Road) -> None:
    with pytest.raises(MessageError, match="mono8"):
        direct_images.image(road.publisher, np.zeros((3, 4), np.float32), "mono8", Header())


@pytest.mark.parametrize("direct", [True, False])
def test_a_kept_message_goes_out_with_each_stamp(
    context: rclpy.Context, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    if not direct:
        monkeypatch.setattr(direct_images, "_direct", lambda: None)
    node = Node("keeping", context=context)
    publisher = node.create_publisher(CameraInfo, "kept", 10)
    source = direct_images.Source(node.create_subscription(CameraInfo, "kept", lambda message: None, 10))
    wait_until(lambda: publisher.get_subscription_count() == 1, "the subscription")
    info = CameraInfo(header=Header(frame_id="left"), width=64, height=48, distortion_model="plumb_bob", d=[0.1, -0.2])
    info.k[0] = info.k[4] = 50.0
    expected = deserialize_message(serialize_message(info), CameraInfo)
    kept = direct_images.KeptMessage(info)
    for stamp in (Time(sec=1, nanosec=2), Time(), Time(sec=-5, nanosec=999_999_999)):
        kept.outgoing(publisher, stamp).send()
        expected.header.stamp = stamp
        taken = wait_until(source.take, "the message")
        assert serialize_message(taken.message) == serialize_message(expected)
    node.destroy_node()


def test_a_camera_info_is_read_again_only_when_it_says_something_new(context: rclpy.Context) -> None:
    node = Node("calibrating", context=context)
    publisher = node.create_publisher(CameraInfo, "calibration", 10)
    source = direct_images.Source(node.create_subscription(CameraInfo, "calibration", lambda message: None, 10))
    wait_until(lambda: publisher.get_subscription_count() == 1, "the subscription")

    def passed_on(stamp: Time, **said: Any) -> CameraInfo:
        sent = CameraInfo(header=Header(frame_id=said.pop("frame_id", "left"), stamp=stamp), **said)
        publisher.publish(sent)
        came = wait_until(source.take, "the CameraInfo").message
        assert serialize_message(came) == serialize_message(sent)
        return came

    first = passed_on(Time(sec=1, nanosec=2), width=64)
    assert passed_on(Time(sec=-1, nanosec=4_000_000_000), width=64) is first
    other = passed_on(Time(sec=3), width=32)
    assert other is not first and first.width == 64
    assert passed_on(Time(sec=4), width=32, d=[0.1]) is not other
    assert passed_on(Time(sec=4), width=32, d=[0.1], frame_id="right") is not first
    node.destroy_node()


def test_times_are_those_of_sending_and_arriving(road: Road) -> None:
    before = time.time_ns()
    direct_images.image(road.publisher, ARRAYS["mono8"], "mono8", Header()).send()
    taken = wait_until(road.source.take, "the image")
    wait_until(lambda: road.theirs.handle.take_message(Image, True), "the image for rclpy")
    assert before <= taken.sent_ns <= taken.arrived_ns <= time.time_ns()


def test_messages_are_numbered(road: Road) -> None:
    numbers = []
    for _ in range(3):
        road.publisher.publish(Image())
        taken = wait_until(road.source.take, "the image")
        numbers.append(taken.number)
        wait_until(lambda: road.theirs.handle.take_message(Image, True), "the image for rclpy")
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    assert road.source.take() is None


def test_without_the_c_functions_everything_goes_through_rclpy(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_images, "_direct", lambda: None)
    sent = fill_image(Image(), np.arange(12, dtype=np.uint8).reshape(3, 4), "mono8", Header(frame_id="camera"))
    direct_images.publish(road.publisher, sent)
    serialised, taken = road.arrived()
    assert deserialize_message(serialised, Image) == taken
    assert (taken.header, bytes(taken.data)) == (sent.header, bytes(range(12)))


def test_the_receiver_survives_what_cannot_be_taken_in_and_stops_at_once(context: rclpy.Context) -> None:
    node = Node("receiving", context=context)
    images, infos = node.create_publisher(Image, "some", 10), node.create_publisher(CameraInfo, "info", 10)
    group = NotForExecutor()
    kinds = {"some": Image, "info": CameraInfo}
    subscriptions = {
        topic: node.create_subscription(kind, topic, lambda message: None, 10, callback_group=group)
        for topic, kind in kinds.items()
    }
    heard: list[Any] = []
    came = threading.Event()

    def on_message(message: Any, number: int | None) -> None:
        if message.height == 7:
            raise ValueError("seven")
        heard.append((type(message), number, threading.current_thread().name))
        came.set()

    receiver = Receiver(context, dict.fromkeys(subscriptions.values(), on_message), node.get_logger())
    wait_until(lambda: images.get_subscription_count() and infos.get_subscription_count(), "the receiver")
    for publisher, message, kind in ((images, Image(), Image), (infos, CameraInfo(), CameraInfo)):
        whole = serialize_message(message)
        publisher.publish(whole[:9])  # cut off in the header
        publisher.publish(b"\0\1\0\0" + b"\xff" * 20)  # a frame_id of four billion letters
        publisher.publish(kind(height=7))
        came.clear()
        publisher.publish(message)
        assert came.wait(60)
        assert [one for one in heard if one[0] is kind] == [(kind, 4, "hybridnet receiver")]
    receiver.stop()
    images.publish(Image())
    assert len(heard) == 2
    assert not any(thread.name == "hybridnet receiver" for thread in threading.enumerate())
    node.destroy_node()
