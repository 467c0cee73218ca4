"""From the bytes of an image to pixels, by torchvision where it can, else by PIL; the pixels are the same.

Shapes: H, W pixels.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor

from mtlab.data.image_files import decode_image, opened


def pixels(data: bytes, place: str) -> Tensor:
    """Decode an image: upright by its EXIF tag, what is transparent on white.

    Args:
        data: an image file's content.
        place: what errors call it.

    Returns:
        uint8 [3, H, W], RGB.

    Raises:
        UserError: it is no image, too large, damaged or cut off.

    """
    from torchvision.io import ImageReadMode, decode_jpeg, decode_png

    with opened(io.BytesIO(data), place) as image:  # reads the header alone: a twentieth of a millisecond
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info
        decode = {"JPEG": decode_jpeg, "PNG": decode_png}.get(image.format or "") if plain else None
    if decode is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a view of bytes cannot be written to, and is not
            held = torch.frombuffer(data, dtype=torch.uint8)
        try:
            found: Tensor = decode(held, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        except RuntimeError:
            pass  # damaged, or odd: PIL says which
        else:
            return found
    return torch.from_numpy(decode_image(data, place)).permute(2, 0, 1)
