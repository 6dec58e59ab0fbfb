"""Images to and from the middleware without rclpy's own copies of their pixels.

rclpy copies the pixels of each image twice on its way out, and twice on its way in, to turn the Python message into the
C message that rcl takes and gives: milliseconds for a large one. Here the C message simply refers to the array's own
memory, and the other way round. Whether a C message looks here as `_CImage` says is tried out once, with a message
that rclpy converts; where it does not, or rcl cannot be found, everything goes through rclpy.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import numpy as np
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from hybridnet_ros.messages.layout import data_bytes, set_data

_OK, _NOTHING_TO_TAKE = 0, 401  # of rcl_ret_t
_NUMBER = 2  # rmw_message_info_t: two times, then the number that the publisher gave the message


class DirectError(RuntimeError):
    """The middleware failed to send or to give an image."""


class _Sequence(ctypes.Structure):
    """A string or the bytes of an image."""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]


class _CImage(ctypes.Structure):
    """sensor_msgs__msg__Image."""

    _fields_ = [
        ("sec", ctypes.c_int32),
        ("nanosec", ctypes.c_uint32),
        ("frame_id", _Sequence),
        ("height", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("encoding", _Sequence),
        ("is_bigendian", ctypes.c_uint8),
        ("step", ctypes.c_uint32),
        ("data", _Sequence),
    ]


class _Direct:
    """The C functions of rcl and of the message type."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where one is missing."""
        rcl = ctypes.CDLL("librcl.so")  # the one that rclpy has loaded
        self.publish = _declared(rcl.rcl_publish, ctypes.c_int32, 3)
        self.take = _declared(rcl.rcl_take, ctypes.c_int32, 4)
        self.forget_error = _declared(rcl.rcutils_reset_error, None, 0)
        self.free = _declared(ctypes.CDLL(None).free, None, 1)
        Image.__class__.__import_type_support__()
        self.create = _of_type("_CREATE_ROS_MESSAGE", ctypes.c_void_p)
        self.destroy = _of_type("_DESTROY_ROS_MESSAGE", None, ctypes.c_void_p)
        self.fill = _of_type("_CONVERT_FROM_PY", ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)

    def works(self) -> bool:
        """Whether the C message of an image is a `_CImage`."""
        header = Header(frame_id="a camera")
        header.stamp.sec, header.stamp.nanosec = -3, 4_000_000_005
        sent = Image(header=header, height=6, width=7, encoding="8UC9", is_bigendian=1, step=10, data=bytes(range(11)))
        address = self.create()
        try:
            return bool(self.fill(sent, address)) and _to_python(_CImage.from_address(address), None) == sent
        finally:
            self.destroy(address)


def publish(publisher: Publisher, message: Any) -> None:
    """Publishes `message` as `publisher.publish` does, but the pixels of an Image are not copied on their way to rcl.

    Raises:
        DirectError: the middleware failed; rclpy's own exceptions where the message goes through it.
    """
    direct = _direct()
    if direct is None or not isinstance(message, Image):
        publisher.publish(message)
        return
    if not getattr(publisher, "is_activated", True):  # a lifecycle publisher is silent then
        return
    header, data = message.header, data_bytes(message.data)
    frame_id, encoding = message.header.frame_id.encode(), message.encoding.encode()
    image = _CImage(
        header.stamp.sec,
        header.stamp.nanosec,
        _Sequence(_address(frame_id), len(frame_id), len(frame_id) + 1),
        message.height,
        message.width,
        _Sequence(_address(encoding), len(encoding), len(encoding) + 1),
        message.is_bigendian,
        message.step,
        _Sequence(data.ctypes.data, data.size, data.size),
    )
    with publisher.handle:
        code = direct.publish(publisher.handle.pointer, ctypes.addressof(image), None)
    if code != _OK:
        direct.forget_error()
        raise DirectError(f"an image on {publisher.topic_name} could not be sent (rcl error {code})")


def take(subscription: Subscription) -> tuple[Any, int | None] | None:
    """The next message of a subscription and the number that its publisher gave it, if known; None if none is there.

    The pixels of an Image are an array that refers to the memory they were received in.

    Raises:
        DirectError: the message could not be read; rclpy's own exceptions where it goes through rclpy.
    """
    direct = _direct()
    if direct is None or subscription.msg_type is not Image:
        taken = subscription.handle.take_message(subscription.msg_type, False)
        return None if taken is None else (taken[0], taken[1].get("publication_sequence_number"))
    info = (ctypes.c_uint64 * 16)()  # is longer than it is anywhere
    address = direct.create()
    if not address:
        raise MemoryError("no memory for an image")
    try:
        code = direct.take(subscription.handle.pointer, address, ctypes.addressof(info), None)
        if code == _NOTHING_TO_TAKE:
            return None
        if code != _OK:
            direct.forget_error()
            raise DirectError(f"an image on {subscription.topic_name} could not be read (rcl error {code})")
        return _to_python(_CImage.from_address(address), direct.free), info[_NUMBER]
    finally:
        direct.destroy(address)


def _to_python(image: _CImage, free: Callable[[int], None] | None) -> Any:
    """The Python message of a C message. With `free` it takes the pixels' memory over, else it copies them."""
    message = Image()
    message.header.stamp.sec, message.header.stamp.nanosec = image.sec, image.nanosec
    message.header.frame_id = _text(image.frame_id)
    message.height, message.width, message.step = image.height, image.width, image.step
    message.encoding, message.is_bigendian = _text(image.encoding), image.is_bigendian
    if free is None:
        message.data = ctypes.string_at(image.data.data, image.data.size)
    elif image.data.size:
        memory = (ctypes.c_uint8 * image.data.size).from_address(image.data.data)
        weakref.finalize(memory, free, image.data.data).atexit = False
        image.data = _Sequence()
        set_data(message, np.frombuffer(memory, np.uint8))
    return message


def _text(sequence: _Sequence) -> str:
    return ctypes.string_at(sequence.data, sequence.size).decode("utf-8", "replace")  # as rclpy does it


def _address(text: bytes) -> int:
    return cast(int, ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value)


def _declared(function: Any, result: Any, pointers: int) -> Any:
    function.restype, function.argtypes = result, [ctypes.c_void_p] * pointers
    return function


def _of_type(name: str, result: Any, *arguments: Any) -> Any:
    """A function that rclpy itself uses for images."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # One that works on Python objects must keep others from running Python.
    kind = ctypes.PYFUNCTYPE if ctypes.py_object in arguments else ctypes.CFUNCTYPE
    return kind(result, *arguments)(pointer(getattr(Image.__class__, name), None))


@lru_cache(maxsize=1)
def _direct() -> _Direct | None:
    try:
        direct = _Direct()
    except (OSError, AttributeError):
        return None
    return direct if direct.works() else None
