"""Images as RGB: the one way in which files, streamed bytes and PIL images are decoded. Files are checked before.

Shapes: H, W pixels.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mtlab.errors import UserError, first_line
from mtlab.files import DiskError, as_user_error

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

#: formats that PIL decodes in this process; others (EPS) would start programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 2**26  #: 8192 × 8192; a small file with more could fill the memory
WHITE = (255, 255, 255)
#: EXIF orientation → what makes the image upright, as PIL names it
_TURNS: Mapping[int, str] = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip


def check_image(path: Path) -> None:
    """Check that an image can be read to its end, faster than by reading it: JPEGs at an eighth of their size.

    Raises:
        UserError: as `read_image`.

    """
    with _open_file(path) as image:
        image.draft(None, (1, 1))
        to_array(image, path)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image as a viewer shows it: upright by its EXIF tag, transparency on white.

    Returns:
        uint8 [H, W, 3] RGB; of an animation the first frame.

    Raises:
        UserError: it is missing, no image of a known format, too large, damaged or cut off; or its pixels are floats or
            32-bit integers.
        DiskError: the disk does not answer.

    """
    with _open_file(path) as image:
        return to_array(image, path)


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file as `read_image` does; errors show its `name`."""
    with open_image(io.BytesIO(data), name) as image:
        return to_array(image, name)


def to_array(image: PilImage, name: Path | str) -> NDArray[np.uint8]:
    """Return a PIL image as `read_image` returns that of a file; errors show its `name`.

    Raises:
        UserError: its pixels are floats or 32-bit integers, or its file is damaged or cut off.

    """
    from PIL.Image import Transpose

    try:
        image.load()  # first: of a PNG, to ask for the orientation would do so, and hide what is wrong with the pixels
        turn = _TURNS.get(find_orientation(image))
        return np.array(_to_rgb(image if turn is None else image.transpose(Transpose[turn]), name), np.uint8)
    except UserError:
        raise
    except Exception as error:  # a decoder of a damaged file, which is read only now, raises anything
        raise UserError(f"cannot be decoded ({first_line(error)}): damaged, or cut off?", file=name) from None


def find_orientation(image: PilImage) -> int:
    """Return the orientation in an image's EXIF, 1 to 8; 1, upright, where there is none or it cannot be read."""
    from PIL.ExifTags import Base

    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:
        return 1


@contextmanager
def _open_file(path: Path) -> Iterator[PilImage]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            raise UserError("is not a file", file=path)
        data = path.read_bytes()  # before it is decoded: a disk that fails is no damaged image
    except FileNotFoundError:
        raise UserError("no such image", file=path) from None
    except PermissionError:
        raise UserError("may not be read: permission denied", file=path) from None
    except OSError as error:
        explained = as_user_error(error, path, action="read")
        if isinstance(explained, DiskError):
            raise explained from None
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    with open_image(io.BytesIO(data), path) as image:
        yield image


@contextmanager
def open_image(stream: BinaryIO, name: Path | str) -> Iterator[PilImage]:
    """Open an image of a known format and an allowed size.

    Raises:
        UserError: it is no such image, or using it fails because it is damaged or cut off.

    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are checked below, and metadata, which is not used
            with Image.open(stream, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(
                        f"has {width} × {height} pixels: {MAX_PIXELS:,} are allowed; save it smaller", file=name
                    )
                yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"is far too large: {MAX_PIXELS:,} pixels are allowed; save it smaller", file=name) from None
    except UnidentifiedImageError:
        raise UserError(f"is not an image that can be read (known: {', '.join(FORMATS)})", file=name) from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"cannot be decoded ({first_line(error)}): damaged, or cut off?", file=name) from None


def _to_rgb(image: PilImage, name: Path | str) -> Any:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(f"has pixels of mode {image.mode}: save it with 8 bits a channel", file=name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        background = Image.new("RGBA", image.size, (*WHITE, 255))
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
