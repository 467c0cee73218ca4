"""Decoding images to tensors, by torchvision where it can, else by PIL; the pixels are the same.

Shapes: H, W pixels.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mtlab.data.image_files import decode_image, find_orientation, open_image

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


#: where PIL keeps a PNG's XMP, and EXIF in text
PNG_TAGS = frozenset({"xmp", "XML:com.adobe.xmp", "Raw profile type exif"})


def decode_pixels(data: bytes, name: str) -> Tensor:
    """Decode an image: upright by its EXIF tag, transparency on white.

    Args:
        data: an image file's content.
        name: of the image, for errors.

    Returns:
        uint8 [3, H, W], RGB.

    Raises:
        UserError: it is no image, too large, damaged or cut off.

    """
    from torchvision.io import ImageReadMode, decode_jpeg, decode_png  # a second of start-up that `plan` does not need

    with open_image(io.BytesIO(data), name) as image:  # reads the header alone: a twentieth of a millisecond
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info and not _may_be_turned(image, data)
        decode = {"JPEG": decode_jpeg, "PNG": decode_png}.get(image.format or "") if plain else None
    if decode is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tensor shares the bytes and is not writable, which is fine
            encoded = torch.frombuffer(data, dtype=torch.uint8)
        try:
            pixels: Tensor = decode(encoded, mode=ImageReadMode.RGB)
            if pixels.dtype == torch.uint8:  # of 16 bits a channel torchvision keeps all, PIL the upper 8
                return pixels
        except RuntimeError:
            pass  # damaged, or odd: PIL says which
    return torch.from_numpy(decode_image(data, name)).permute(2, 0, 1)


def _may_be_turned(image: PilImage, data: bytes) -> bool:
    """Return whether an image may be stored turned: PIL then finds the tag wherever it stands, torchvision does not."""
    if image.format == "JPEG":
        return find_orientation(image) != 1  # of EXIF, or else of XMP
    return b"eXIf" in data or not PNG_TAGS.isdisjoint(image.info)
