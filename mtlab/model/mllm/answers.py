"""All answers of a closed set scored in one pass: a tree of their tokens stands behind each prompt.

Answers that begin alike share the tokens of their beginning, and each token attends to the prompt and to the tokens of
its own answers alone: what comes out is the likelihood that a pass over each answer by itself would give.

Shapes: B prompts, A answers, S tokens in the tree, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtlab.errors import UserError
from mtlab.model.layers import to_full_precision

MOST_TOKENS = 64  #: in a tree: each predicts over the whole vocabulary


@dataclass(frozen=True)
class Tree:
    """The tokens that an answer's last token is predicted from, each after its parent."""

    tokens: tuple[int, ...]  #: [S]
    parents: tuple[int, ...]  #: of each, −1 for the prompt's last token, [S]
    predicted: tuple[tuple[int, int, int], ...]  #: (answer, place in the tree or −1, the token predicted there)


def grow_tree(answers: Sequence[Sequence[int]], end: int | None) -> Tree:
    """Make the tree of a closed set of answers.

    Args:
        answers: token ids of each.
        end: id of the token that ends an answer, which is predicted where one answer begins with another.

    Raises:
        UserError: an answer has no tokens, two have the same, or there are too many tokens.

    """
    ids = [tuple(answer) for answer in answers]
    if not all(ids) or len(set(ids)) < len(ids):
        raise UserError("two answers have the same tokens, or one has none: the language model cannot tell them apart")
    begun = {answer[:length] for answer in ids for length in range(1, len(answer))}
    if begun & set(ids) and end is not None:
        ids = [(*answer, end) for answer in ids]
    nodes: dict[tuple[int, ...], int] = {(): -1}
    predicted = []
    for number, answer in enumerate(ids):
        for length, token in enumerate(answer):
            nodes.setdefault(answer[:length], len(nodes) - 1)
            predicted.append((number, nodes[answer[:length]], token))
    inner = [prefix for prefix in nodes if prefix]
    if len(inner) > MOST_TOKENS:
        raise UserError(
            f"{len(answers)} answers of several tokens need {len(inner)} behind each prompt, {MOST_TOKENS} at most: "
            "set it to head"
        )
    return Tree(tuple(prefix[-1] for prefix in inner), tuple(nodes[prefix[:-1]] for prefix in inner), tuple(predicted))


class AnswerScorer(nn.Module):
    """Holds the tree on the model's device.

    Args:
        tree: of the answers.
        answers: A.

    """

    tokens: Tensor  #: [S]
    depths: Tensor  #: tokens of the answer up to this one, [S]
    seen: Tensor  #: True where a token (row) attends to another (column), itself included, bool [S, S]

    def __init__(self, tree: Tree, answers: int) -> None:
        super().__init__()
        self.answers, size = answers, len(tree.tokens)
        seen = [[False] * size for _ in range(size)]
        for node, parent in enumerate(tree.parents):
            seen[node] = list(seen[parent]) if parent >= 0 else seen[node]
            seen[node][node] = True
        number, place, token = zip(*tree.predicted, strict=True)
        tables = {
            "tokens": torch.tensor(tree.tokens, dtype=torch.long),
            "depths": torch.tensor([sum(row) for row in seen], dtype=torch.long),
            "seen": torch.tensor(seen, dtype=torch.bool).reshape(size, size),
            "numbers": torch.tensor(number),
            "places": torch.tensor(place) + 1,
            "predicted": torch.tensor(token),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        self.numbers: Tensor
        self.places: Tensor
        self.predicted: Tensor

    def forward(self, last: Tensor, states: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Score the answers: log-likelihoods [B, A], in float32 at least, the sum over each answer's tokens.

        Args:
            last: states of the prompts' last tokens, [B, D].
            states: of the tree's, [B, S, D].
            logits: of the language model, […, D] → […, V].

        """
        at = torch.cat([last.unsqueeze(1), states], 1)
        likelihoods = to_full_precision(logits(at)).log_softmax(-1)[
            :, self.places, self.predicted
        ]  # [B, tokens predicted]
        return likelihoods.new_zeros(len(last), self.answers).index_add(1, self.numbers, likelihoods)
