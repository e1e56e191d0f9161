"""PNG and JPEG files: pixels of every kind, and the error of each damage, which the decoder would fill."""

from pathlib import Path

import numpy as np
import pytest

from client.data.image_files import check_image, decode_image
from client.png import encode
from fedmx.errors import DataError
from tests.client.given.pictures import (
    BASELINE,
    BLUE,
    CMYK,
    GREY,
    PROGRESSIVE,
    RED,
    add_preview,
    chunk,
    draw,
    write_png,
)

PATH = Path("some/picture")
PIXELS = draw(0)
PALETTE = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))


def error_of(data: bytes) -> str:
    with pytest.raises(DataError) as caught:
        check_image(PATH, data)
    message = str(caught.value)
    assert message.startswith(f"{PATH}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("photo", [BASELINE, PROGRESSIVE, CMYK])
def test_a_jpeg_of_colors_is_decoded(photo: bytes) -> None:
    pixels = decode_image(PATH, photo).asnumpy()
    assert pixels.shape == (16, 24, 3)
    assert abs(pixels[:, :8].astype(int) - RED).max() < 25
    assert abs(pixels[:, 16:].astype(int) - BLUE).max() < 25


def test_a_grey_jpeg_gets_three_channels() -> None:
    pixels = decode_image(PATH, GREY).asnumpy()
    assert pixels.shape == (16, 24, 3)
    assert (pixels[..., :1] == pixels).all()


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (encode(PIXELS), PIXELS),
        (write_png(np.array([[0, 128, 255]], np.uint8), 8, 0), [[[0] * 3, [128] * 3, [255] * 3]]),
        # 16 bits, the first byte being the more significant one.
        (write_png(np.array([[0, 9, 200, 9]], np.uint8), 16, 0), [[[0] * 3, [200] * 3]]),
        (write_png(np.array([[0, 1]], np.uint8), 8, 3, PALETTE), [[[10, 20, 30], [40, 50, 60]]]),
        (write_png(np.array([[0b01000000]], np.uint8), 1, 3, PALETTE), [[[10, 20, 30], [40, 50, 60]] * 4]),
        (write_png(np.array([[7, 8, 9, 0]], np.uint8), 8, 6), [[[7, 8, 9]]]),
        # The first picture of an animated file.
        (write_png(np.array([[5]], np.uint8), 8, 0, chunk(b"acTL", b"\0\0\0\2\0\0\0\0")), [[[5] * 3]]),
    ],
)
def test_a_png_of_any_kind_is_decoded_to_three_channels_of_eight_bits(data: bytes, pixels: object) -> None:
    found = decode_image(PATH, data).asnumpy()
    expected = np.array(pixels)
    assert found.dtype == np.uint8
    assert (found[:, :2] == expected[:, :2]).all()


@pytest.mark.parametrize("data", [encode(PIXELS), BASELINE, PROGRESSIVE, CMYK, GREY])
def test_an_image_that_is_cut_anywhere_is_rejected(data: bytes) -> None:
    check_image(PATH, data)
    for length in range(8, len(data)):
        message = error_of(data[:length])
        assert "truncated" in message or "damaged" in message
    assert f"after {len(data) - 1} bytes" in error_of(data[:-1])


def test_a_cut_jpeg_is_rejected_although_the_preview_in_its_header_is_whole() -> None:
    photo = add_preview(BASELINE, PROGRESSIVE)
    check_image(PATH, photo)
    assert "truncated" in error_of(photo[:-20])


def test_bytes_after_the_end_of_an_image_are_ignored() -> None:
    for data in (encode(PIXELS), BASELINE):
        check_image(PATH, data + bytes(5000))


def test_a_png_with_a_changed_byte_is_rejected() -> None:
    data = bytearray(encode(PIXELS))
    data[60] ^= 1
    assert "IDAT" in error_of(bytes(data))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not a PNG or JPEG"),
        (b"GIF89a" + bytes(100), "not a PNG or JPEG"),
        (write_png(np.zeros((0, 3), np.uint8), 8, 2), "no pixels"),
        (BASELINE.replace(b"\xff\xc0\x00\x11\x08\x00\x10", b"\xff\xc0\x00\x11\x08\x00\x00"), "no pixels"),
        (BASELINE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "12 bits"),
        (BASELINE.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x08"), "SOF3"),
        (BASELINE[:30] + bytes(60) + BASELINE[90:], "damaged"),
    ],
)
def test_a_file_that_cannot_be_decoded_is_one_line(data: bytes, part: str) -> None:
    assert part in error_of(data)
