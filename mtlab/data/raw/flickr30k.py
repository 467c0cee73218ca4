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
        progress: called now and then.

    """
    images: list[dict[str, Any]] = []
    said = 0
    for split in SPLITS:
        grouped = numbered_images(data, split)
        for entry in with_progress(grouped, f"{split} pictures", progress):
            write_jpeg(root / "flickr30k-images" / f"{entry.number}.jpg", data.image(*entry.keys))
        for entry in grouped:
            number, ids = len(images), list(range(said, said + len(entry.examples)))
            said += len(ids)
            images.append(
                {
                    "filename": f"{entry.number}.jpg",
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
                        for sentence, example in zip(ids, entry.examples, strict=True)
                    ],
                }
            )
    write_json(root / "karpathy" / "dataset_flickr30k.json", {"dataset": "flickr30k", "images": images})
