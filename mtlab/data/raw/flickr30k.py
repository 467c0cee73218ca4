"""The layout of Flickr30K with Karpathy's split: one JSON file with all captions, and a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtlab.data.base import SPLITS, Dataset
from mtlab.data.raw.numbered_images import Progress, numbered_images, with_progress, write_jpeg, write_json


def write(data: Dataset, root: Path, progress: Progress) -> None:
    """Write captions and images.

    Args:
        data: has captions.
        root: folder to write to.
        progress: is told how far it is.

    """
    images: list[dict[str, Any]] = []
    said = 0
    for split in SPLITS:
        found = numbered_images(data, split)
        for picture in with_progress(found, f"{split} pictures", progress):
            write_jpeg(root / "flickr30k-images" / f"{picture.number}.jpg", data.image(*picture.keys))
        for picture in found:
            number, ids = len(images), list(range(said, said + len(picture.examples)))
            said += len(ids)
            images.append(
                {
                    "filename": f"{picture.number}.jpg",
                    "imgid": number,
                    "split": split,
                    "sentids": ids,
                    "sentences": [
                        {
                            "raw": example.text,
                            "tokens": example.text.lower().split(),
                            "imgid": number,
                            "sentid": sentence,
                        }
                        for sentence, example in zip(ids, picture.examples, strict=True)
                    ],
                }
            )
    write_json(root / "karpathy" / "dataset_flickr30k.json", {"dataset": "flickr30k", "images": images})
