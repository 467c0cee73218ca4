"""SNLI-VE: does an image of Flickr30K entail a sentence?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtlab.data.converters.annotation_files import stream_json_lines, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.shards.index import CLASSES
from mtlab.errors import nearest


@register_converter("snli_ve")
class SnliVeConverter(Converter):
    """SNLI-VE. Parts train, dev, test. The text is the hypothesis; the premise, which models do not see, is kept."""

    kind = "entailment"
    all_parts = ("train", "dev", "test")
    layout = "snli_ve/snli_ve_{train,dev,test}.jsonl, flickr30k-images/"

    def sources(self) -> Sequence[str]:
        """Return the three files of sentences."""
        return [_file(part) for part in self.parts]

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:  # noqa: ARG002 - no join is needed
        """Read the sentences line by line."""
        labels = {name: at for at, name in enumerate(CLASSES["entailment"])}
        for part in self.parts:
            for place, row in stream_json_lines(self.root / _file(part)):
                try:
                    label = text_field(row, "gold_label")
                    if label not in labels:
                        raise BadRowError(f"gold_label: {label!r} is no label; {nearest(label, labels)}")
                    image = text_field(row, "Flickr30K_ID").removesuffix(".jpg")
                    fields = {
                        "id": text_field(row, "pairID"),
                        "text": text_field(row, "sentence2"),
                        "label": labels[label],
                        "premise": text_field(row, "sentence1"),
                    }
                    yield Annotation(part, image, (f"flickr30k-images/{image}.jpg",), (fields,), place)
                except BadRowError as error:
                    yield RejectedRow(part, place, str(error))


def _file(part: str) -> str:
    return f"snli_ve/snli_ve_{part}.jsonl"
