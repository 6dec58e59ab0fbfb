"""Makes malformed Image, CompressedImage and CameraInfo messages: every way in which a field can lie, and mixtures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.messages.images import ENCODINGS

_WIDTH, _HEIGHT = 96, 64
GOOD_FX = 240.0
"""Focal length in px of `camera_info`."""

_HUGE = (2**16, 2**31, 2**32 - 1)
_NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))


@dataclass(frozen=True)
class Malformed:
    """A message and what it is.

    Attributes:
        kind: how it was made.
        message: without a stamp yet.
        refused: whether it must be refused; otherwise it may also be taken for what it says, as a picture of which the
            decoder cannot see that a few bits are wrong.
        spoil: what becomes of its bytes on the way, if anything; they keep their stamp.
    """

    kind: str
    message: Any
    refused: bool
    spoil: Callable[[bytes], bytes] | None = None

    def sent(self) -> Any:
        """What to publish: the message, or its bytes when they are spoilt."""
        return self.message if self.spoil is None else self.spoil(serialize_message(self.message))


def malformed_image(random: Random) -> Malformed:
    """An Image that is not what its fields say."""
    return _one_of(random, _IMAGES, _image)


def malformed_compressed(random: Random) -> Malformed:
    """A CompressedImage that is damaged, cut off, or not JPEG or PNG."""
    return _one_of(random, _COMPRESSED, lambda random: _compressed(_picture(random, ".jpg")))


def malformed_info(random: Random) -> Malformed:
    """A CameraInfo of no camera."""
    return _one_of(random, _INFOS, lambda random: camera_info())


def _one_of(
    random: Random, makers: dict[str, tuple[Callable[[Random], Any], bool]], sound: Callable[[Random], Any]
) -> Malformed:
    kind = random.choice([*makers, *_ON_THE_WAY])
    if kind in _ON_THE_WAY:
        message = sound(random)
        spoil = partial(_ON_THE_WAY[kind], random)
        return Malformed(f"{type(message).__name__} {kind}", message, False, spoil)
    make, refused = makers[kind]
    return Malformed(kind, make(random), refused)


# Bytes of any message, after the 4 that say how they are written and the 8 of the stamp

_AFTER_STAMP = 12


def _shorter(random: Random, sound: bytes) -> bytes:
    return sound[: random.randrange(_AFTER_STAMP, len(sound))]


def _other_bytes(random: Random, sound: bytes) -> bytes:
    data = bytearray(sound)
    for _ in range(random.randint(1, 8)):
        data[random.randrange(_AFTER_STAMP, min(80, len(data)))] = random.choice(
            (0, 1, 0x7F, 0xFF, random.randrange(256))
        )
    return bytes(data)


_ON_THE_WAY: dict[str, Callable[[Random, bytes], bytes]] = {
    "that ends on the way": _shorter,
    "of other bytes on the way": _other_bytes,
}


# Image


def _image(random: Random, **fields: Any) -> Image:
    message = Image(width=_WIDTH, height=_HEIGHT, step=3 * _WIDTH, encoding="rgb8")
    message._data = np.frombuffer(random.randbytes(3 * _WIDTH * _HEIGHT), np.uint8)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def _unknown_encoding(random: Random) -> Image:
    junk = "".join(random.choice("abcdefgh0123456789_ \u00e9\u4e2d") for _ in range(random.choice((0, 4, 5, 3000))))
    names = ["", "rgb9", "RGB8", "32FC1", "16UC1", "64FC4", "yuv444", "jpeg", "8UC99", "rgb8 ", junk + "!"]
    return _image(random, encoding=random.choice(names))


def _no_size(random: Random) -> Image:
    return _image(random, **{random.choice(("width", "height")): 0})


def _huge_size(random: Random) -> Image:
    names = random.choice((("width",), ("height",), ("width", "height")))
    message = _image(random, **{name: random.choice(_HUGE) for name in names})
    message.step = random.choice((3 * _WIDTH, 0, 2**32 - 1, (3 * message.width) % 2**32))
    return message


def _size_beyond_data(random: Random) -> Image:
    width, height = random.randint(1, 6000), random.randint(1, 5000)
    message = _image(random, width=width, height=height, step=3 * width)
    message._data = message._data[: min(len(message._data), 3 * width * height - 1)]
    return message


def _short_step(random: Random) -> Image:
    return _image(random, step=random.randrange(0, 3 * _WIDTH))


def _long_step(random: Random) -> Image:
    return _image(random, step=random.choice((3 * _WIDTH + random.randint(1, 5000), 2**31, 2**32 - 1)))


def _short_data(random: Random) -> Image:
    message = _image(random)
    message._data = message._data[: random.randrange(len(message._data))]
    return message


def _wrong_encoding_for_data(random: Random) -> Image:
    # A pixel of each of these takes more than the three bytes that are there.
    return _image(random, encoding=random.choice(("rgba8", "bgra8", "rgb16", "bgr16", "rgba16", "bgra16")))


def _odd_size(random: Random) -> Image:
    encoding = random.choice([name for name, one in ENCODINGS.items() if one.blocks[0] > 1])
    return _image(random, encoding=encoding, width=_WIDTH - 1, step=4 * _WIDTH)


def _long_data(random: Random) -> Image:
    message = _image(random)
    message._data = np.concatenate([message._data, message._data[: random.randint(1, 999)]])
    return message


def _anything(random: Random) -> Image:
    # Small sizes: whatever comes out must be answered at once or refused.
    message = _image(
        random,
        width=random.randint(0, 300),
        height=random.randint(0, 300),
        step=random.randint(0, 1000),
        encoding=random.choice(list(ENCODINGS)),
        is_bigendian=random.randint(0, 255),
    )
    message._data = np.frombuffer(random.randbytes(random.randint(0, 100_000)), np.uint8)
    return message


_IMAGES: dict[str, tuple[Callable[[Random], Any], bool]] = {
    "image of an unknown encoding": (_unknown_encoding, True),
    "image without a size": (_no_size, True),
    "image of a huge size": (_huge_size, True),
    "image larger than its data": (_size_beyond_data, True),
    "image with a short step": (_short_step, True),
    "image with a long step": (_long_step, True),
    "image cut off": (_short_data, True),
    "image of another encoding than said": (_wrong_encoding_for_data, True),
    "image of an odd size": (_odd_size, True),
    "image with data to spare": (_long_data, False),
    "image of random fields": (_anything, False),
}


# CompressedImage


def _compressed(data: bytes, format_name: str = "rgb8; jpeg compressed bgr8") -> CompressedImage:
    message = CompressedImage(format=format_name)
    message._data = np.frombuffer(data, np.uint8)
    return message


def _picture(random: Random, kind: str) -> bytes:
    coarse = np.frombuffer(random.randbytes(8 * 12 * 3), np.uint8).reshape(8, 12, 3)
    return bytes(cv2.imencode(kind, cv2.resize(coarse, (_WIDTH, _HEIGHT)))[1])


def _cut(random: Random, kind: str) -> CompressedImage:
    data = _picture(random, kind)
    return _compressed(data[: random.randrange(len(data) - 2)])


def _part_missing(random: Random) -> CompressedImage:
    data = _picture(random, ".jpg")
    pixels = data.index(b"\xff\xda") + 14
    start = random.randrange(pixels, len(data) - 100)
    return _compressed(data[:start] + data[random.randrange(start + 50, len(data) - 2) :])


def _flipped(random: Random, kind: str) -> CompressedImage:
    data = bytearray(_picture(random, kind))
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return _compressed(bytes(data))


def _other_format(random: Random) -> CompressedImage:
    starts = (b"", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"II*\0", b"\0\0\0\x0cjP  ", b"%!PS", b"\0\0\1\xba")
    return _compressed(random.choice(starts) + random.randbytes(random.randint(0, 5000)).lstrip(b"\xff\x89"))


def _depth(random: Random) -> CompressedImage:
    return _compressed(_picture(random, ".png"), "32FC1; compressedDepth png")


def _jpeg_bomb(random: Random) -> CompressedImage:
    data = bytearray(_picture(random, ".jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", random.randint(30_000, 65_535), random.randint(30_000, 65_535))
    return _compressed(bytes(data))


def _png_bomb(random: Random) -> CompressedImage:
    side = random.choice((20_000, 100_000, 2**31 - 1, 2**32 - 1))
    return _compressed(_png(side, side, zlib.compress(bytes(100_000))), "rgb8; png compressed bgr8")


def _png_of_less_than_it_says(random: Random) -> CompressedImage:
    # Large, but of a size that is accepted: the decoder has to find out.
    return _compressed(_png(1000, random.randint(100, 2000), zlib.compress(bytes(random.randint(0, 99_000)))))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


_COMPRESSED: dict[str, tuple[Callable[[Random], Any], bool]] = {
    "JPEG cut off": (lambda random: _cut(random, ".jpg"), True),
    "PNG cut off": (lambda random: _cut(random, ".png"), True),
    "JPEG with wrong bits": (lambda random: _flipped(random, ".jpg"), False),
    "JPEG with a part missing": (_part_missing, False),  # simplejpeg mostly finds it, OpenCV never does
    "PNG with wrong bits": (lambda random: _flipped(random, ".png"), False),
    "neither JPEG nor PNG": (_other_format, True),
    "compressed depth": (_depth, True),
    "JPEG bomb": (_jpeg_bomb, True),
    "PNG bomb": (_png_bomb, True),
    "PNG of less than it says": (_png_of_less_than_it_says, True),
}


# CameraInfo


def camera_info() -> CameraInfo:
    """A good one, for images of 192 x 128 px, of another focal length than the tiny engine was made for."""
    info = CameraInfo(width=192, height=128, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [GOOD_FX, 0.0, 96.0, 0.0, GOOD_FX, 64.0, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [GOOD_FX, 0.0, 96.0, 0.0, 0.0, GOOD_FX, 64.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def _not_finite(random: Random) -> CameraInfo:
    info = camera_info()
    values = getattr(info, random.choice("kprd"))
    values[random.randrange(len(values))] = random.choice(_NO_NUMBERS)
    return info


def _no_focal_length(random: Random) -> CameraInfo:
    info = camera_info()
    info.k[random.choice((0, 4))] = random.choice((0.0, -0.0, -240.0, -1e308))
    return info


def _absurd_focal_length(random: Random) -> CameraInfo:
    info = camera_info()
    info.k[0] = info.k[4] = random.choice((1e-300, 1e-9, 0.1, 1e6, 1e30, 1e308))
    return info


def _absurd_size(random: Random) -> CameraInfo:
    info = camera_info()
    info.width, info.height = random.choice(_HUGE), random.choice(_HUGE)
    return info


def _absurd_window(random: Random) -> CameraInfo:
    info = camera_info()
    info.width, info.height = random.choice((192, 384, 0, 1)), random.choice((128, 256, 0, 1))
    info.binning_x, info.binning_y = random.choice((0, 1, 2, 2**32 - 1)), random.choice((0, 1, 2, 2**32 - 1))
    info.roi.x_offset, info.roi.y_offset = random.choice((0, 7, 2**32 - 1)), random.choice((0, 7, 2**32 - 1))
    info.roi.width, info.roi.height = random.choice((0, 1, 96, 2**32 - 1)), random.choice((0, 1, 64, 2**32 - 1))
    return info


def _long_fields(random: Random) -> CameraInfo:
    info = camera_info()
    info.d = [random.random() for _ in range(random.choice((0, 1, 14, 100_000)))]
    info.distortion_model = random.choice(("", "no such model", "x" * 10_000))
    return info


_INFOS: dict[str, tuple[Callable[[Random], Any], bool]] = {
    "CameraInfo with numbers that are none": (_not_finite, True),
    "CameraInfo without a focal length": (_no_focal_length, True),
    "CameraInfo with an absurd focal length": (_absurd_focal_length, True),
    "CameraInfo of an absurd size": (_absurd_size, True),
    "CameraInfo with an absurd window": (_absurd_window, False),
    "CameraInfo with absurd distortion": (_long_fields, False),
}
