"""JPEG and PNG give rgb; what is truncated, damaged, enormous or something else is refused, never filled with grey."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybridnet_ros.messages import MAX_PIXELS, MessageError, compressed_to_rgb, jpeg


def smooth_picture(height: int = 24, width: int = 40) -> np.ndarray:
    """rgb whose channels differ and change slowly, so that JPEG keeps them."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([80 + 3 * columns, 200 - 4 * rows, np.full_like(rows, 30)], axis=-1).astype(np.uint8)


def encode(extension: str, pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(extension, pixels, list(options))[1].tobytes()


PICTURE = smooth_picture()
BGR = PICTURE[..., ::-1]
JPEG = encode(".jpg", BGR, cv2.IMWRITE_JPEG_QUALITY, 98)
PNG = encode(".png", BGR)


@pytest.fixture(scope="module", params=["simplejpeg", "OpenCV", "older OpenCV"], autouse=True)
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "simplejpeg":
            patch.setattr(jpeg, "simplejpeg", None)
        if request.param == "older OpenCV":
            patch.setattr(jpeg, "_RGB", None)
        yield request.param


@pytest.mark.parametrize("format_name", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", ""])
def test_jpeg_gives_rgb(library, format_name):
    result = compressed_to_rgb(library.compressed(JPEG, format_name))
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result.astype(int), PICTURE, atol=6)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("restart", [0, 2])
def test_every_kind_of_jpeg_scan_is_read(library, progressive, restart):
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart)
    result = compressed_to_rgb(library.compressed(encode(".jpg", BGR, *options)))
    np.testing.assert_allclose(result.astype(int), PICTURE, atol=10)


@pytest.mark.parametrize("format_name", ["png", "rgb8; png compressed bgr8"])
def test_png_gives_rgb_exactly(library, format_name):
    np.testing.assert_array_equal(compressed_to_rgb(library.compressed(PNG, format_name)), PICTURE)


def test_a_picture_stored_as_rgb_is_read_as_its_format_says(library):
    stored = encode(".png", PICTURE)
    result = compressed_to_rgb(library.compressed(stored, "rgb8; png compressed rgb8"))
    np.testing.assert_array_equal(result, PICTURE)


def test_grey_alpha_and_sixteen_bit_pictures_give_rgb(library):
    grey = PICTURE[..., 0]
    rgb_of_grey = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_allclose(compressed_to_rgb(library.compressed(encode(".jpg", grey))), rgb_of_grey, atol=6)
    np.testing.assert_array_equal(compressed_to_rgb(library.compressed(encode(".png", grey), "png")), rgb_of_grey)
    wide = grey.astype(np.uint16) * 257
    np.testing.assert_array_equal(compressed_to_rgb(library.compressed(encode(".png", wide), "png")), rgb_of_grey)
    color = BGR.astype(np.uint16) * 257
    np.testing.assert_array_equal(compressed_to_rgb(library.compressed(encode(".png", color), "png")), PICTURE)
    alpha = np.concatenate([BGR, np.full_like(BGR[..., :1], 9)], axis=2)
    np.testing.assert_array_equal(compressed_to_rgb(library.compressed(encode(".png", alpha), "png")), PICTURE)


def test_exif_orientation_is_not_applied(library):
    # An APP1 segment that says "turn by 90 degrees": the size must stay that of CameraInfo.
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 6, 0) + bytes(4)
    segment = b"Exif\0\0" + tiff
    turned = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    assert compressed_to_rgb(library.compressed(turned)).shape == PICTURE.shape


def test_padding_after_the_end_is_accepted(library):
    assert compressed_to_rgb(library.compressed(JPEG + bytes(64))).shape == PICTURE.shape
    assert compressed_to_rgb(library.compressed(PNG + bytes(64))).shape == PICTURE.shape


@given(data=st.data(), kind=st.sampled_from(["jpeg", "png"]))
def test_a_truncated_picture_is_refused_wherever_it_ends(library, data, kind):
    picture = JPEG if kind == "jpeg" else PNG
    length = data.draw(st.integers(8, len(picture) - 1))
    with pytest.raises(MessageError, match=f"{kind.upper()} image of {length} bytes is truncated or damaged.*QoS"):
        compressed_to_rgb(library.compressed(picture[:length], kind))


def jpeg_header_of(width: int, height: int) -> bytes:
    """JPEG whose frame header says this size."""
    start = JPEG.index(b"\xff\xc0")
    return JPEG[: start + 5] + struct.pack(">HH", height, width) + JPEG[start + 9 :]


def png_header_of(width: int, height: int) -> bytes:
    """PNG whose header chunk says this size."""
    return PNG[:16] + struct.pack(">II", width, height) + PNG[24:]


@pytest.mark.parametrize(
    ("data", "size"),
    [(jpeg_header_of(65500, 65500), "65500x65500"), (png_header_of(2**31 - 1, 2**31 - 1), "2147483647x2147483647")],
    ids=["jpeg", "png"],
)
def test_an_enormous_size_is_refused_before_decoding(library, data, size):
    with pytest.raises(MessageError, match=f"{size} pixels, more than the {MAX_PIXELS} accepted"):
        compressed_to_rgb(library.compressed(data))


REFUSED = {
    "nothing": (b"", "jpeg", "format 'jpeg' has no data"),
    "video": (b"\0\0\0\1gB\0\x1f", "h264", r"'h264' starts with the bytes 00 00 00 01 67.*neither JPEG nor PNG"),
    "depth": (bytes(12) + PNG, "32FC1; compressedDepth png", "depth image.*Remap"),
    "no pixels": (jpeg_header_of(0, 0), "jpeg", "truncated or damaged"),
    "damaged png": (PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:], "png", "40x24 PNG image of .* damaged"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_no_picture_is_refused_with_the_reason(library, case):
    data, format_name, reason = REFUSED[case]
    with pytest.raises(MessageError, match=reason):
        compressed_to_rgb(library.compressed(data, format_name))


@given(
    start=st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", PNG[:8], PNG[:33], JPEG[:160], JPEG]),
    rest=st.binary(max_size=200),
    end=st.sampled_from([b"", b"\xff\xd9", PNG[-12:]]),
)
@example(start=b"\xff\xd8", rest=b"\xff\xff\xff", end=b"")
@example(start=PNG[:8], rest=b"", end=PNG[-12:])
def test_no_bytes_whatever_make_anything_but_a_picture_or_a_message_error(library, start, rest, end):
    with contextlib.suppress(MessageError):
        result = compressed_to_rgb(library.compressed(start + rest + end))
        assert result.dtype == np.uint8
        assert result.shape[2] == 3


SUBSAMPLINGS = ["411", "420", "422", "440", "444"]


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("size", [(48, 64), (33, 17), (1, 1)])
def test_every_decoder_gives_the_same_pixels(decoder, monkeypatch, size, subsampling, progressive):
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling}")
    options = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    for channels in (1, 3):
        pixels = np.random.default_rng(5).integers(0, 256, (*size, channels), np.uint8)
        for format_name in ("jpeg", "rgb8; jpeg compressed rgb8"):
            message = SimpleNamespace(format=format_name, data=encode(".jpg", pixels, *options))
            result = compressed_to_rgb(message)
            with monkeypatch.context() as patch:
                patch.setattr(jpeg, "simplejpeg", None)
                np.testing.assert_array_equal(result, compressed_to_rgb(message))


RESTARTS = encode(".jpg", BGR, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)


def test_damage_inside_a_jpeg_is_found_by_simplejpeg(decoder):
    middle = len(JPEG) - 40
    lost = JPEG[:middle] + JPEG[-2:]  # a part of the message that got lost on the way
    foreign = RESTARTS.replace(b"\xff\xd0", bytes([0x55] * 64) + b"\xff\xd0", 1)
    for data in (lost, foreign):
        message = SimpleNamespace(format="jpeg", data=data)
        if decoder == "simplejpeg":
            with pytest.raises(MessageError, match=f"40x24 JPEG image of {len(data)} bytes is damaged.*: Corrupt JPEG"):
                compressed_to_rgb(message)
        else:
            assert compressed_to_rgb(message).shape == PICTURE.shape


@pytest.mark.parametrize("marker", [b"\xff\xd0", b"\xff\xd9"])
def test_the_padding_of_some_webcams_is_no_damage(marker):
    padded = RESTARTS.replace(marker, bytes(9) + marker, 1)
    result = compressed_to_rgb(SimpleNamespace(format="jpeg", data=padded))
    np.testing.assert_array_equal(result, compressed_to_rgb(SimpleNamespace(format="jpeg", data=RESTARTS)))
