"""The samples of LLaVA-OV-Manager, as transformers wants them: a token for each of an image's, and the question.

The authors' samples hold one placeholder for each image.

Shapes: B samples, L tokens of an image, T tokens of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtlab.interop.mechanisms.bundle import Mechanism, Tensors

Part = Literal["all", "base", "tiles"]

#: group of inputs and outputs → which tokens of tiled images take part; None: images are not tiled
GROUPS: dict[str, Part | None] = {
    "flat": None,
    "plain": None,
    "multi": None,
    "generate": None,
    "anyres_all": "all",
    "anyres_main": "base",
    "anyres_grid": "tiles",
    "anyres_max": "all",
}
_IGNORED = -200  #: the authors' placeholder of an image


@dataclass(frozen=True)
class Samples:
    """A group's samples as transformers wants them."""

    batch: Mapping[str, Tensor]  #: arguments of the model
    question: Tensor  #: [B, T]
    lengths: Sequence[int]  #: L of each image
    rows: Sequence[int]  #: its sample
    raw: Sequence[tuple[int, int, int]]  #: of each image, the authors' three numbers about its question

    @classmethod
    def of(cls, bundle: Mechanism, encode: Callable[..., Any], group: str, inputs: Tensors) -> Samples:
        """Expand the placeholders by what `encode`, the model's `get_image_features`, makes of the images."""
        ids = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], _mask(inputs), strict=True)]
        rows = [number for number, row in enumerate(ids) for token in row if token == _IGNORED]
        images = _images(bundle, group, inputs, rows)
        with torch.no_grad():
            encoded = encode(**images).pooler_output
        lengths = [len(image) for image in encoded]
        left = iter(lengths)
        spread: list[Tensor] = []
        asked: list[Tensor] = []
        raw: list[tuple[int, int, int]] = []
        for row in ids:
            own = [next(left) for token in row if token == _IGNORED]
            merged, question = _merge(row, own, bundle)
            spread.append(torch.tensor(merged))
            asked.append(question)
            raw += [_raw_numbers(row, length, bundle) for length in own]
        padded = nn.utils.rnn.pad_sequence(spread, batch_first=True, padding_value=bundle.config["tokens"]["pad"])
        real = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in spread], batch_first=True)
        question = nn.utils.rnn.pad_sequence(asked, batch_first=True)
        return cls({"input_ids": padded, "attention_mask": real.long(), **images}, question, lengths, rows, raw)


def _merge(row: Sequence[int], lengths: Sequence[int], bundle: Mechanism) -> tuple[list[int], Tensor]:
    """Return a sample's ids with a token for each of an image's, and where its question is: only the first user turn.

    Source: LLaVA-OV-Manager, `llava_qwen_manager.py`.
    """
    tokens, left = bundle.config["tokens"], iter(lengths)
    merged: list[int] = []
    images: list[tuple[int, int]] = []
    for token in row:
        if token == _IGNORED:
            length = next(left)
            images.append((len(merged), len(merged) + length))
            merged += [image_token(bundle)] * length
        else:
            merged.append(token)
    question = torch.zeros(len(merged), dtype=torch.bool)
    starts = [place for place, token in enumerate(merged) if token == tokens["im_start"]]
    if images and len(starts) < 2:  # `plain`: the caption without its newline
        question[images[-1][1] : -1] = True
    elif images:
        end = (starts[2] if len(starts) > 2 else len(merged)) - 2  # the end of the user's turn, and a newline
        if len(images) == 1:
            question[starts[1] + 3 : max(images[0][0] - 1, starts[1] + 3)] = True
        question[images[-1][1] + 1 : end] = True
    return merged, question


def _raw_numbers(row: Sequence[int], length: int, bundle: Mechanism) -> tuple[int, int, int]:
    """Return what the authors store: second turn, end of the question and of the image, as if there were one image."""
    starts = [place for place, token in enumerate(row) if token == bundle.config["tokens"]["im_start"]]
    image, grown = row.index(_IGNORED), length - 1
    if len(starts) < 2:
        return -1, len(row) + grown, image + length
    return starts[1], (starts[2] - 1 if len(starts) > 2 else len(row) - 1) + grown, image + length


def _images(bundle: Mechanism, group: str, inputs: Tensors, rows: Sequence[int]) -> dict[str, Any]:
    """Return the images of a group; those of samples without an image are left out."""
    listed = [name for name in sorted(inputs) if name.startswith("pixel_values.")]
    if GROUPS[group] is None:
        if not listed:  # one for each sample
            return {"pixel_values": inputs["pixel_values"][list(rows)]}
        return {"pixel_values": torch.cat([inputs[name] for name in listed])}
    sizes = [list(reversed(size)) for _, size in bundle.options["anyres"]["tiles_resolution_and_original_size_w_h"]]
    return {"pixel_values": torch.cat([inputs[name] for name in listed]), "image_sizes": torch.tensor(sizes)}


def image_starts(is_image: Tensor, samples: Samples) -> list[int]:
    """Return where each image begins in its sample."""
    columns = iter(is_image.nonzero()[:, 1].split(list(samples.lengths)))
    return [int(next(columns)[0]) for _ in samples.rows]


def given_inputs(bundle: Mechanism, group: str) -> dict[str, Tensor]:
    """Return the inputs of a group; those of `anyres_…` are the inputs of `anyres_all`."""
    start = f"{'anyres_all' if group.startswith('anyres') else group}/in/"
    return {name.removeprefix(start): tensor for name, tensor in bundle.io.items() if name.startswith(start)}


def _mask(inputs: Tensors) -> Tensor:
    return inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))


def image_token(bundle: Mechanism) -> int:
    """Return an id that no sample holds: one below the ids of the turns."""
    return int(min(bundle.config["tokens"]["im_start"], bundle.config["tokens"]["im_end"])) - 1
