"""SBU captions: Flickr images downloaded from links, some of them dead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from mtlab.data.converters.annotation_files import stream_list, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.errors import UserError

FILE = "sbu-captions-all.json"


@register_converter("sbu")
class SbuConverter(Converter):
    """SBU captions. Part train. Images that were not downloaded count as missing, not as bad."""

    kind = "captions"
    all_parts = ("train",)
    layout = f"{FILE}, SBU/ (images under the last part of their links)"
    losses_expected = True

    def sources(self) -> Sequence[str]:
        """Return the file."""
        return [FILE]

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Read captions and links side by side."""
        path = self.root / FILE
        links = scratch.store("name text primary key, link text", ())
        for caption, link in zip_longest(stream_list(path, "captions"), stream_list(path, "image_urls")):
            if caption is None or link is None:
                raise UserError("has not as many captions as image_urls: cut off, or another file?", file=path)
            try:
                row = {"caption": caption[1], "link": link[1]}
                name = PurePosixPath(urlsplit(text_field(row, "link")).path).name
                scratch.execute(f"insert or ignore into {links} values (?, ?)", (name, row["link"]))
                (first,) = scratch.execute(f"select link from {links} where name = ?", (name,)).fetchone()
                if first != row["link"]:
                    raise BadRowError(f"SBU/{name} may be the image of {first}, not of {row['link']}")
                yield Annotation(
                    "train",
                    PurePosixPath(name).stem,
                    (f"SBU/{name}",),
                    ({"text": text_field(row, "caption")},),
                    caption[0],
                )
            except (BadRowError, ValueError) as error:
                yield RejectedRow("train", caption[0], str(error))
