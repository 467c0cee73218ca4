"""Image files of strangers: looked at before they are decoded, then brought to RGB whatever they hold.

Shapes: H, W pixels.
"""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mtlab.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Formats that a decoder in this process reads; others (EPS) would start programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 2**26  #: 8192 × 8192; a larger picture may be a small file that fills the memory
WHITE = (255, 255, 255)


def check_header(path: Path) -> None:
    """Look whether a file is an image of a sane size, by its header alone: a tenth of a millisecond.

    Raises:
        UserError: it is missing, no image of a known format, or too large.

    """
    with _opened_file(path):
        pass


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image as a viewer would show it: upright by its EXIF tag, what is transparent on white.

    Returns:
        uint8 [H, W, 3] RGB; of an animation the first picture.

    Raises:
        UserError: as `check_header`; the file is damaged or cut off; its pixels are floats or 32-bit integers.

    """
    with _opened_file(path) as image:
        return _upright(image, path)


def decode_image(data: bytes, place: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file as `read_image` does; `place` is what errors call it."""
    with open_image(io.BytesIO(data), place) as image:
        return _upright(image, place)


def _upright(image: Picture, place: Path | str) -> NDArray[np.uint8]:
    from PIL import ImageOps

    return np.array(_rgb(ImageOps.exif_transpose(image), place), np.uint8)


@contextmanager
def _opened_file(path: Path) -> Iterator[Picture]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise UserError("is not a file", file=path)
        with path.open("rb") as stream, open_image(stream, path) as image:
            yield image
    except FileNotFoundError:
        raise UserError("no such image", file=path) from None
    except PermissionError:
        raise UserError("may not be read: permission denied", file=path) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


@contextmanager
def open_image(stream: BinaryIO, place: Path | str) -> Iterator[Picture]:
    """Open an image of a known format and a sane size, for whatever is to be done with it.

    Raises:
        UserError: it is none, or what is done with it fails, as it is damaged or cut off.

    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked below, and of odd metadata, which is not used
            with Image.open(stream, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(
                        f"has {width} × {height} pixels: {MAX_PIXELS:,} are allowed; save it smaller", file=place
                    )
                yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"is far too large: {MAX_PIXELS:,} pixels are allowed; save it smaller", file=place) from None
    except UnidentifiedImageError:
        raise UserError(f"is not an image that can be read (known: {', '.join(FORMATS)})", file=place) from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"cannot be decoded ({_words(error)}): damaged, or cut off?", file=place) from None


def _rgb(image: Picture, place: Path | str) -> Any:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(f"has pixels of mode {image.mode}: save it with 8 bits a channel", file=place)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (*WHITE, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _words(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
