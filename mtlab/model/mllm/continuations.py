"""Tokens behind each prompt: the answers that are scored, the one that is learnt, or none yet where it is generated.

Shapes: B prompts, A answers, S tokens behind a prompt, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlab.errors import UserError
from mtlab.model.layers import to_full_precision
from mtlab.towers.causal_lm import IGNORE_INDEX, end_each


@dataclass(frozen=True)
class Continuation:
    """Tokens behind each prompt, which attend to the prompt and to those of their own answers in front of them."""

    states: Tensor  #: embedded, [B, S, D]
    depths: Tensor  #: tokens of the answer up to this one, [S]
    seen: Tensor  #: True where a token (row) attends to another (column), itself included, bool [S, S]


class AnswerTokens(nn.Module):
    """The answers that training questions have, as tokens to be learnt; none where captions are learnt.

    Args:
        words: the answers.
        answers: token ids of each.
        end: id of the token that ends an answer.
        most: tokens of the longest answer, the end included.

    Raises:
        UserError: the tokeniser has no end, or an answer has no tokens or too many.

    """

    ids: Tensor  #: of each answer and its end, then `IGNORE_INDEX`, [A, S]

    def __init__(self, words: Sequence[str], answers: Sequence[Sequence[int]], end: int | None, most: int) -> None:
        super().__init__()
        if end is None:
            raise UserError("the tokeniser has no token that ends an answer, so that none can be generated")
        longest = max(map(len, answers), default=0) + 1
        if not all(answers):
            raise UserError("an answer has no tokens: nothing of it can be learnt")
        if longest > most:
            word = words[max(range(len(answers)), key=lambda number: len(answers[number]))]
            raise UserError(
                f"{word!r} has {longest} tokens, its end included: set model.answer_tokens to as many, not {most}"
            )
        self.words, self.end = tuple(words), end
        self.register_buffer("ids", end_each(answers, end), persistent=False)

    def of(self, targets: Tensor) -> Tensor:
        """Return the tokens of right answers [B], or of the best by their scores [B, A]: [B, S]."""
        return self.ids[targets.clamp_min(0) if targets.ndim == 1 else targets.argmax(-1)]


def embed_continuation(tokens: Tensor, embed: Callable[[Tensor], Tensor]) -> Continuation:
    """Embed one answer for each prompt, [B, S]: all its tokens but the last, which nothing follows."""
    ids = tokens[:, :-1].clamp_min(0)
    seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return Continuation(embed(ids), torch.arange(1, ids.shape[1] + 1, device=ids.device), seen)


def continuation_likelihoods(
    tokens: Tensor, last: Tensor, states: Tensor, logits: Callable[[Tensor], Tensor]
) -> Tensor:
    """Sum the log-likelihoods of an answer's tokens, [B], in float32 at least.

    Args:
        tokens: its tokens, `IGNORE_INDEX` behind the end, [B, S].
        last: states of the prompts' last tokens, [B, D].
        states: of the answer's tokens but the last, [B, S − 1, D].
        logits: of the language model, […, D] → […, V].

    """
    predicted = to_full_precision(logits(torch.cat([last.unsqueeze(1), states], 1))).log_softmax(-1)
    each = predicted.gather(-1, tokens.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return (each * (tokens != IGNORE_INDEX)).sum(1)
