"""Decoding images to tensors, by torchvision where it can, else by PIL; the pixels are the same.

Shapes: H, W pixels.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor

from mtlab.data.image_files import decode_image, open_image


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
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info
        decode = {"JPEG": decode_jpeg, "PNG": decode_png}.get(image.format or "") if plain else None
    if decode is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tensor shares the bytes and is not writable, which is fine
            encoded = torch.frombuffer(data, dtype=torch.uint8)
        try:
            pixels: Tensor = decode(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            if pixels.dtype == torch.uint8:  # of 16 bits a channel torchvision keeps all, PIL the upper 8
                return pixels
        except RuntimeError:
            pass  # damaged, or odd: PIL says which
    return torch.from_numpy(decode_image(data, name)).permute(2, 0, 1)
