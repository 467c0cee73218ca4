"""Where images and questions stand among the tokens of a batch.

Shapes: B rows, T tokens of a row, I images in all rows, L tokens of an image, M tokens of a question, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mtlab.errors import UserError
from mtlab.model.mllm.continuations import Continuation


@dataclass(frozen=True)
class Spans:
    """Tokens of a batch [B, T] gathered in groups, one for each image."""

    rows: Tensor  #: of each image, [I, 1]
    columns: Tensor  #: of its tokens, [I, L]; 0 where there are fewer
    mask: Tensor  #: True at real tokens, [I, L]

    @classmethod
    def of(cls, rows: Tensor, columns: Sequence[Tensor]) -> Spans:
        """Take the rows of images [I] and the columns of the tokens of each."""
        lengths = torch.tensor([len(each) for each in columns], device=rows.device)
        padded = pad_sequence(list(columns), batch_first=True)
        return cls(rows.unsqueeze(1), padded, torch.arange(padded.shape[1], device=rows.device) < lengths.unsqueeze(1))

    @property
    def padding(self) -> Tensor | None:
        """The mask, [I, L]; None where all tokens are real."""
        return None if bool(self.mask.all()) else self.mask

    def gather(self, states: Tensor) -> Tensor:
        """Take states [B, T, D] at the tokens: [I, L, D]."""
        return states[self.rows, self.columns]

    def scatter(self, states: Tensor, values: Tensor) -> Tensor:
        """Return states [B, T, D] with the real ones of `values` [I, L, D] at the tokens, as a new tensor."""
        rows = self.rows.expand_as(self.columns)[self.mask]
        return states.index_put((rows, self.columns[self.mask]), values[self.mask].to(states.dtype))


@dataclass(frozen=True)
class Columns:
    """Tokens of a batch [B, T] that stand in the same columns of every row."""

    start: int
    stop: int
    padding: Tensor | None = None  #: True at real tokens, [B, L]; None: all are real

    def ends(self) -> Tensor | int:
        """Return the column behind the last real token, [B, 1], or the same for all rows."""
        return self.stop if self.padding is None else self.start + self.padding.sum(1, keepdim=True)

    def gather(self, states: Tensor) -> Tensor:
        """Take states [B, T, D] at the tokens: [B, L, D]."""
        return states[:, self.start : self.stop]

    def scatter(self, states: Tensor, values: Tensor) -> Tensor:
        """Return states [B, T, D] with `values` [B, L, D] at the tokens, as a new tensor."""
        parts = [states[:, : self.start], values.to(states.dtype), states[:, self.stop :]]
        return torch.cat(parts, 1)


def positions(text: Columns, states: Tensor, behind_prompt: Continuation | None) -> tuple[Tensor, Tensor]:
    """Return the position of each token of states [B, T, D], [B, T], and which it attends to, bool [B, 1, T, T].

    A token attends to what is in front of it; one behind the prompt to images, text, and the start of its answers.

    Args:
        text: the columns of the prompt's text, behind those of images.
        states: of images, text and what is behind.
        behind_prompt: what is behind.

    """
    batch, whole, device, mask = len(states), states.shape[1], states.device, text.padding
    places = torch.arange(whole, device=device).expand(batch, -1)
    visible = torch.ones(whole, whole, dtype=torch.bool, device=device).tril()
    if behind_prompt is not None:
        behind = (behind_prompt.depths - 1 + text.ends()).expand(batch, -1)
        places = torch.cat([places[:, : text.stop], behind], 1)
        visible = visible.clone()
        visible[text.stop :, text.stop :] = behind_prompt.seen
    visible = visible.expand(batch, 1, -1, -1)
    if mask is not None:
        real = F.pad(F.pad(mask, (text.start, 0), value=True), (0, whole - text.stop), value=True)
        visible = visible & real[:, None, None, :]
    return places, visible


def image_spans(is_image: Tensor, lengths: Sequence[int]) -> Spans:
    """Give each image its tokens: row by row, in order, as image tokens are put into the text.

    Args:
        is_image: True at image tokens, [B, T].
        lengths: L of each image.

    Raises:
        UserError: there are more or fewer image tokens than images have, or an image would be torn over two rows.

    """
    places = is_image.nonzero()
    if len(places) != sum(lengths):
        raise UserError(f"{len(places)} image tokens in the text, {sum(lengths)} from the images")
    parts = places.split(list(lengths))
    if any(bool((part[:, 0] != part[0, 0]).any()) for part in parts):
        raise UserError("an image begins in one row and ends in another: the rows hold other images than were given")
    return Spans.of(torch.stack([part[0, 0] for part in parts]), [part[:, 1] for part in parts])


def question_spans(is_question: Tensor, images: Spans) -> Spans:
    """Give each image the tokens of the question of its row; where there are none, its own tokens stand for them.

    Args:
        is_question: True at tokens of the question, [B, T].
        images: the tokens of images.

    """
    columns = []
    for row, own, real in zip(images.rows[:, 0], images.columns, images.mask, strict=True):
        asked = is_question[row].nonzero()[:, 0]
        columns.append(asked if len(asked) else own[real])
    return Spans.of(images.rows[:, 0], columns)
