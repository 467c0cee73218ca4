"""Images of every mode come out as RGB, upright; what is no image is told in one line."""

import errno
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mtlab.data.image_files import FORMATS, check_image, decode_image, read_image
from mtlab.data.shards.images import check_image as check_bytes
from mtlab.data.shards.streaming.decode import decode_pixels
from mtlab.errors import UserError
from mtlab.files import DiskError

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", RED, RED),
        ("L", 128, (128, 128, 128)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (*RED, 0), (255, 255, 255)),  # transparent: the white behind it
        ("LA", (10, 0), (255, 255, 255)),
        ("I;16", 128 << 8, (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    path = tmp_path / "image.png"
    Image.new(mode, (3, 2), colour).save(path)  # type: ignore[arg-type]
    pixels = read_image(path)
    assert (pixels.shape, pixels.dtype) == ((2, 3, 3), np.uint8)
    assert pixels[0, 0].tolist() == list(expected)


def test_a_png_of_16_bits_a_channel_is_streamed_as_it_is_read() -> None:
    rows = b"".join(bytes((0, *range(row, row + 18))) for row in range(4))  # 3 × 4 pixels; no filter
    sizes = struct.pack(">IIBBBBB", 3, 4, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", sizes), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held)) for name, held in chunks
    )
    pixels = decode_pixels(data, "deep")
    assert (pixels.permute(1, 2, 0).numpy() == decode_image(data, "deep")).all()
    assert pixels[:, 0, 0].tolist() == [0, 2, 4]  # the upper bytes


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    image.save(tmp_path / "solid.png")
    image.save(tmp_path / "clear.gif", transparency=1)
    assert read_image(tmp_path / "solid.png")[0, 0].tolist() == list(RED)
    assert read_image(tmp_path / "clear.gif")[0, 0].tolist() == [255, 255, 255]


def test_a_camera_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 8), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg").shape == (16, 8, 3)


def test_streamed_images_are_turned_as_those_that_are_read_are(tmp_path: Path) -> None:
    """Torchvision finds no tag behind XMP, of four bytes, in XMP, or behind the pixels of a PNG."""

    def segment(content: bytes) -> bytes:
        return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content

    def saved(kind: str, **options: object) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (32, 16), RED).save(stream, kind, **options)
        return stream.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
    adobe = segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    long = b"Exif\0\0MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x112, 4, 1, 6, 0)
    tagged, plain, png = saved("JPEG", exif=exif), saved("JPEG"), saved("PNG", exif=exif)
    start, end = png.index(b"eXIf") - 4, png.index(b"IDAT") - 4
    moved = png[:start] + png[end:-12] + png[start:end] + png[-12:]
    images = (
        tagged,
        plain[:2] + adobe + tagged[2:],
        plain[:2] + segment(long) + plain[2:],
        plain[:2] + adobe + plain[2:],
    )
    for number, data in enumerate((*images, png, moved)):
        assert decode_image(data, str(number)).shape == (32, 16, 3), number
        assert decode_pixels(data, str(number)).shape == (3, 32, 16), number
    assert decode_pixels(plain, "plain").shape == (3, 16, 32)


def test_an_image_whose_metadata_are_damaged_is_as_good_wherever_it_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (32, 16), RED).save(stream, "JPEG", dpi=(72, 72))
    garbage = b"Exif\0\0GARBAGE, and no TIFF"
    data = stream.getvalue()
    data = data[:20] + b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage + data[20:]
    check_bytes(data)
    assert decode_image(data, "one").shape == (16, 32, 3)
    assert decode_pixels(data, "one").shape == (3, 16, 32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pil_turns_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    assert np.array_equal(decode_image(stream.getvalue(), "one"), expected)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_does_not_answer_is_no_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    Image.new("RGB", (16, 8), RED).save(tmp_path / "photo.jpg")

    def fail(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    for read in (read_image, check_image):
        with pytest.raises(DiskError, match=r"photo\.jpg: cannot be reached: the disk does not answer"):
            read(tmp_path / "photo.jpg")


def cut_off(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    path.write_bytes(stream.getvalue()[:1000])


def bomb(path: Path) -> None:
    """Write a PNG of a few bytes that claims a gigapixel."""
    head = struct.pack(">IIBBBBB", 32768, 32768, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def program(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (cut_off, "cannot be decoded"),
        (bomb, "pixels"),
        (program, "is not an image that can be read"),
        (lambda path: path.write_text("hello"), "is not an image that can be read"),
        (lambda path: path.write_bytes(b""), "is not an image that can be read"),
        (Path.mkdir, "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda _: None, "no such image"),
        (lambda path: Image.new("F", (2, 2)).save(path, "TIFF"), "has pixels of mode F"),
    ],
)
def test_what_is_no_image_is_told_in_one_line(tmp_path: Path, write: Callable[[Path], object], expected: str) -> None:
    path = tmp_path / "image.jpg"
    write(path)
    with pytest.raises(UserError) as told:
        read_image(path)
    assert str(told.value).startswith(str(path))
    assert expected in str(told.value)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError) as checked:  # what a plan says, before any run reads it
        check_image(path)
    assert expected in str(checked.value)


def test_what_can_be_read_passes_the_check(tmp_path: Path) -> None:
    for format_ in FORMATS:
        path = tmp_path / format_.lower()
        Image.effect_noise((64, 40), 50).convert("RGB").save(path, format_)
        check_image(path)
        assert read_image(path).shape == (40, 64, 3)
