"""Checks of image files before they are written to a shard: known type, allowed size, and completely decodable.

The shard keeps the original bytes.
"""

from __future__ import annotations

import io
import stat
from pathlib import Path

from mtlab.data.image_files import open_image, to_array
from mtlab.data.shards.samples import IMAGE_TYPES, image_type
from mtlab.errors import UserError
from mtlab.files import DiskError, as_user_error

MAX_BYTES = 2**28  #: of an image file; larger ones are not read at all


class BadImageError(UserError):
    """An image file is unusable."""


class MissingImageError(BadImageError):
    """The file does not exist."""


def read_checked(path: Path) -> bytes:
    """Read an image file and decode it once, to check it.

    Raises:
        MissingImageError: there is no such file.
        BadImageError: it is no image, too large, damaged or cut off.
        DiskError: the disk does not answer.

    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise BadImageError("is not a file")
        if status.st_size > MAX_BYTES:
            raise BadImageError(f"has {status.st_size:,} bytes: {MAX_BYTES:,} are allowed")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingImageError("no such image") from None
    except OSError as error:
        explained = as_user_error(error, path, action="read")
        if isinstance(explained, DiskError):  # says nothing of the image
            raise explained from None
        raise BadImageError(f"cannot be read: {error.strerror}") from None
    check_image(data)
    return data


def check_image(data: bytes) -> None:
    """Decode an image and discard its pixels.

    Raises:
        BadImageError: it is no image, too large, damaged or cut off.

    """
    if not data:
        raise BadImageError("is an empty file")
    if image_type(data) is None:
        raise BadImageError(f"is no image of a known type ({', '.join(IMAGE_TYPES)})")
    try:
        with open_image(io.BytesIO(data), "") as image:
            image.draft("RGB", (1, 1))  # reads every byte of a JPEG, but computes few pixels
            to_array(image, "")
    except UserError as error:
        raise BadImageError(error.problem) from None
