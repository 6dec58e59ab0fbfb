"""Images to and from the middleware without rclpy's own copies of their pixels.

rclpy copies the pixels of each image twice on its way out, and twice on its way in, to turn the Python message into the
C message that rcl takes and gives: milliseconds for a large one. Here the C message simply refers to the array's own
memory, and the other way round. Whether a C message looks here as `_CImage` says is tried out once, with a message
that rclpy converts; where it does not, or rcl cannot be found, everything goes through rclpy.
"""

from __future__ import annotations

import ctypes
import struct
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from hybridnet_ros.messages import fill_image, image_fields
from hybridnet_ros.messages.layout import data_bytes, set_data

_OK, _NOTHING_TO_TAKE = 0, 401  # of rcl_ret_t
_SOME_STAMP = Time(sec=-3, nanosec=4_000_000_005)  # that no other memory looks like
_CDR_AFTER_STAMP = 12
_SENT, _ARRIVED, _NUMBER = range(3)  # how rmw_message_info_t begins


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


class _CStamp(ctypes.Structure):
    """How every C message begins that begins with a header."""

    _fields_ = [("sec", ctypes.c_int32), ("nanosec", ctypes.c_uint32)]


class _Direct:
    """The C functions of rcl and of the message type."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where one is missing."""
        rcl = ctypes.CDLL("librcl.so")  # the one that rclpy has loaded
        self.publish = _declared(rcl.rcl_publish, ctypes.c_int32, 3)
        self.take = _declared(rcl.rcl_take, ctypes.c_int32, 4)
        self.forget_error = _declared(rcl.rcutils_reset_error, None, 0)
        self.free = _declared(ctypes.CDLL(None).free, None, 1)
        self.create, self.destroy, self.fill = _functions_of(Image)

    def works(self) -> bool:
        """Whether the C message of an image is a `_CImage`."""
        header = Header(frame_id="a camera", stamp=_SOME_STAMP)
        sent = Image(header=header, height=6, width=7, encoding="8UC9", is_bigendian=1, step=10, data=bytes(range(11)))
        address = self.create()
        try:
            return bool(self.fill(sent, address)) and _to_python(_CImage.from_address(address), None) == sent
        finally:
            self.destroy(address)


class Outgoing(Protocol):
    """A message that is ready to be published."""

    def send(self) -> None:
        """Publishes it; once, and before its header or pixels change.

        Raises:
            DirectError: the middleware failed; rclpy's own exceptions where the message goes through it.
        """


@dataclass(frozen=True)
class ThroughRclpy:
    """A Python message, to be published as usual."""

    publisher: Publisher
    message: Any

    def send(self) -> None:
        """As in `Outgoing`."""
        self.publisher.publish(self.message)


@dataclass(frozen=True)
class _StraightToRcl:
    """A C message at an address, and what holds its memory."""

    publisher: Publisher
    address: int
    memory: tuple[Any, ...]

    def send(self) -> None:
        """As in `Outgoing`."""
        handle = self.publisher.handle
        direct = _direct()
        assert direct is not None, "made by it"
        if not getattr(self.publisher, "is_activated", True):  # a lifecycle publisher is silent then
            return
        with handle:
            code = direct.publish(handle.pointer, self.address, None)
        if code != _OK:
            direct.forget_error()
            raise DirectError(f"a message on {self.publisher.topic_name} could not be sent (rcl error {code})")


def image(publisher: Publisher, array: NDArray[Any], encoding: str, header: Any) -> Outgoing:
    """An array as a sensor_msgs/Image to be published, its pixels not copied on their way to rcl.

    Args:
        publisher: of sensor_msgs/Image.
        array: as for `messages.image_fields`.
        encoding: as for `messages.image_fields`.
        header: std_msgs/Header, the image's own.

    Raises:
        MessageError: the array does not fit the encoding.
    """
    if _direct() is None:
        return ThroughRclpy(publisher, fill_image(Image(), array, encoding, header))
    return _image(publisher, header, **image_fields(array, encoding))


def publish(publisher: Publisher, message: Any) -> None:
    """Publishes `message` as `publisher.publish` does, but the pixels of an Image are not copied on their way to rcl.

    Raises:
        DirectError: the middleware failed; rclpy's own exceptions where the message goes through it.
    """
    if _direct() is None or not isinstance(message, Image):
        publisher.publish(message)
        return
    size, data = (message.height, message.width), data_bytes(message.data)
    _image(publisher, message.header, *size, message.encoding, message.is_bigendian, message.step, data).send()


class KeptMessage:
    """A message that is published again and again, with another stamp each time; converted for rcl only once."""

    def __init__(self, message: Any) -> None:
        """`message` is of any type that begins with a header; nobody else may change it from now on."""
        self._message = message
        message.header.stamp = _SOME_STAMP
        self._address: int | None = None
        if _direct() is not None:
            kind: Any = type(message)
            create, destroy, fill = _functions_of(kind)
            address = create()
            if not address:
                raise MemoryError("no memory for a message")
            weakref.finalize(self, destroy, address).atexit = False
            c_stamp = _CStamp.from_address(address)
            if fill(message, address) and (c_stamp.sec, c_stamp.nanosec) == (_SOME_STAMP.sec, _SOME_STAMP.nanosec):
                self._address = address

    def outgoing(self, publisher: Publisher, stamp: Any) -> Outgoing:
        """The message with another stamp; to be sent before the next is asked for."""
        if self._address is None:
            self._message.header.stamp = stamp
            return ThroughRclpy(publisher, self._message)
        c_stamp = _CStamp.from_address(self._address)
        c_stamp.sec, c_stamp.nanosec = stamp.sec, stamp.nanosec
        return _StraightToRcl(publisher, self._address, (self,))


def _image(
    publisher: Publisher,
    header: Any,
    height: int,
    width: int,
    encoding: str,
    is_bigendian: int,
    step: int,
    data: NDArray[np.uint8],
) -> Outgoing:
    stamp, (frame_id, c_frame_id), (name, c_name) = header.stamp, _string(header.frame_id), _string(encoding)
    pixels = _Sequence(data.ctypes.data, data.size, data.size)
    c_image = _CImage(stamp.sec, stamp.nanosec, c_frame_id, height, width, c_name, is_bigendian, step, pixels)
    return _StraightToRcl(publisher, ctypes.addressof(c_image), (c_image, frame_id, name, data))


@lru_cache(maxsize=32)
def _string(text: str) -> tuple[bytes, _Sequence]:
    """The C string of a text, and its memory."""
    memory = text.encode()
    return memory, _Sequence(ctypes.cast(ctypes.c_char_p(memory), ctypes.c_void_p).value, len(memory), len(memory) + 1)


class Taken(NamedTuple):
    """A message that came.

    Attributes:
        message: it; the pixels of an Image are an array that refers to the memory they were received in.
        number: the one that its publisher gave it, if known.
        sent_ns, arrived_ns: when its publisher began to send it, and when it had come whole, by the system's clock.
    """

    message: Any
    number: int | None
    sent_ns: int
    arrived_ns: int


class Source:
    """Takes the messages of a subscription, one after another.

    Of a CameraInfo hardly more than the stamp ever changes. One that says the same as the one before is not read again:
    it is that very message, with the new stamp.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._is_info = subscription.msg_type is CameraInfo
        self._last: tuple[bytes, Any] = (b"", None)  # a CameraInfo as it came, and read

    @property
    def topic(self) -> str:
        """The name of the topic."""
        return str(self._subscription.topic_name)

    def take(self) -> Taken | None:
        """The next message; None if none is there.

        Raises:
            DirectError: the message could not be read; rclpy's own exceptions where it goes through rclpy.
        """
        direct = _direct()
        kind = self._subscription.msg_type
        if direct is not None and kind is Image:
            return self._take_image(direct)
        taken = self._subscription.handle.take_message(kind, self._is_info)
        if taken is None:
            return None
        message, about = taken
        if self._is_info:
            message = self._read(message)
        number = about.get("publication_sequence_number")
        return Taken(message, number, about["source_timestamp"], about["received_timestamp"])

    def _take_image(self, direct: _Direct) -> Taken | None:
        info = (ctypes.c_uint64 * 16)()  # is longer than it is anywhere
        address = direct.create()
        if not address:
            raise MemoryError("no memory for an image")
        try:
            code = direct.take(self._subscription.handle.pointer, address, ctypes.addressof(info), None)
            if code == _NOTHING_TO_TAKE:
                return None
            if code != _OK:
                direct.forget_error()
                raise DirectError(f"an image on {self.topic} could not be read (rcl error {code})")
            image = _to_python(_CImage.from_address(address), direct.free)
            return Taken(image, info[_NUMBER], info[_SENT], info[_ARRIVED])
        finally:
            direct.destroy(address)

    def _read(self, came: bytes) -> Any:
        """A CameraInfo in CDR: four bytes, the second of which tells the byte order, the stamp, and all else."""
        before, message = self._last
        if message is not None and came[_CDR_AFTER_STAMP:] == before[_CDR_AFTER_STAMP:] and came[:4] == before[:4]:
            stamp = message.header.stamp
            stamp.sec, stamp.nanosec = struct.unpack_from("<iI" if came[1] & 1 else ">iI", came, 4)
            return message
        message = deserialize_message(came, CameraInfo)
        self._last = came, message
        return message


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


def _declared(function: Any, result: Any, pointers: int) -> Any:
    function.restype, function.argtypes = result, [ctypes.c_void_p] * pointers
    return function


@cache
def _functions_of(kind: Any) -> tuple[Any, Any, Any]:
    """The functions that rclpy itself uses for a type: make a C message, free it, fill it from a Python one."""
    kind.__class__.__import_type_support__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

    def address(name: str) -> int:
        return int(pointer(getattr(kind.__class__, name), None))

    return (
        ctypes.CFUNCTYPE(ctypes.c_void_p)(address("_CREATE_ROS_MESSAGE")),
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address("_DESTROY_ROS_MESSAGE")),
        # It works on Python objects, so it must keep others from running Python.
        ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)(address("_CONVERT_FROM_PY")),
    )


@lru_cache(maxsize=1)
def _direct() -> _Direct | None:
    try:
        direct = _Direct()
    except (OSError, AttributeError):
        return None
    return direct if direct.works() else None
