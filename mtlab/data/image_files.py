"""Image files of strangers: looked at before they are decoded, then brought to RGB whatever they hold.

Shapes: H, W pixels.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    with _opened(path):
        pass


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image as a viewer would show it: upright by its EXIF tag, what is transparent on white.

    Returns:
        uint8 [H, W, 3] RGB; of an animation the first picture.

    Raises:
        UserError: as `check_header`; the file is damaged or cut off; its pixels are floats or 32-bit integers.

    """
    from PIL import ImageOps

    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return np.array(_rgb(upright, path), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Picture]:
    from PIL import Image, UnidentifiedImageError

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise UserError("is not a file", file=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked below, and of odd metadata, which is not used
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(
                        f"has {width} × {height} pixels: {MAX_PIXELS:,} are allowed; save it smaller", file=path
                    )
                yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("no such image", file=path) from None
    except PermissionError:
        raise UserError("may not be read: permission denied", file=path) from None
    except Image.DecompressionBombError:
        raise UserError(f"is far too large: {MAX_PIXELS:,} pixels are allowed; save it smaller", file=path) from None
    except UnidentifiedImageError:
        raise UserError(f"is not an image that can be read (known: {', '.join(FORMATS)})", file=path) from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"cannot be decoded ({_words(error)}): damaged, or cut off?", file=path) from None


def _rgb(image: Picture, path: Path) -> Any:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(f"has pixels of mode {image.mode}: save it with 8 bits a channel", file=path)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (*WHITE, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _words(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
