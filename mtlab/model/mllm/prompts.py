"""Questions about images as token ids, and answers of a closed set scored by their likelihood.

Shapes: B rows, T tokens of a row, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mtlab.model.mllm.managed import ManagedModel
from mtlab.towers.loading.language_models import IMAGE_TOKEN


def ask(
    tokenizer: Any, questions: Sequence[str], image_tokens: int, answers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Turn questions, each about one image, into a batch padded on the left.

    Args:
        tokenizer: with a chat template and an image token.
        questions: one a row.
        image_tokens: of an image.
        answers: one a row, to learn: the loss is on their tokens alone.

    Returns:
        `input_ids`, `attention_mask`, and with answers `labels`, [B, T] each

    """
    rows, targets = [], []
    for number, question in enumerate(questions):
        turn = [{"role": "user", "content": f"{IMAGE_TOKEN * image_tokens}\n{question}"}]
        prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        said = [] if answers is None else [*answer_ids(tokenizer, answers[number]), tokenizer.eos_token_id]
        rows.append(torch.tensor(asked + said))
        targets.append(torch.tensor([-100] * len(asked) + said))
    batch = {
        "input_ids": _pad(rows, tokenizer.pad_token_id),
        "attention_mask": _pad([torch.ones_like(row) for row in rows], 0),
    }
    return batch if answers is None else batch | {"labels": _pad(targets, -100)}


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Return an answer's token ids."""
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return ids


@torch.no_grad()
def score_answers(managed: ManagedModel, prompt: Mapping[str, Tensor], answers: Sequence[Sequence[int]]) -> Tensor:
    """Score each answer of a closed set by its log-likelihood after each prompt, the sum over its tokens: [B, A].

    Managers ask with the prompt alone. Answers of one token take one pass in all, longer ones one each.

    Args:
        managed: the model.
        prompt: a batch padded on the left, with its images.
        answers: their token ids.

    """
    ids, mask = prompt["input_ids"], prompt["attention_mask"]
    rest = {name: value for name, value in prompt.items() if name not in ("input_ids", "attention_mask", "labels")}
    question = mask.bool() & (ids != managed.image_token)
    scores = []
    first: Tensor | None = None
    for answer in answers:
        if len(answer) == 1 and first is not None:
            scores.append(first[:, answer[0]])
            continue
        said = ids.new_tensor(answer).expand(len(ids), -1)
        read = {
            "input_ids": torch.cat([ids, said[:, :-1]], 1),
            "attention_mask": torch.cat([mask, torch.ones_like(said[:, :-1])], 1),
        }
        output = managed(**read, **rest, question=question, logits_to_keep=len(answer)).output
        likelihoods = output.logits.float().log_softmax(-1)
        first = likelihoods[:, 0]
        scores.append(likelihoods.gather(2, said.unsqueeze(2)).sum((1, 2)))
    return torch.stack(scores, 1)


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    padded: Tensor = pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side="left")
    return padded
