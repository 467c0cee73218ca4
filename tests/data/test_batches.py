from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mtlab.data.base import Example
from mtlab.data.batches import Batch, BatchOptions, Loader, prefetch, training_rows, training_seeds
from mtlab.errors import UserError
from mtlab.towers.base import Features


class Lengths:
    """A source whose features say which texts were asked for."""

    def fetch(self, keys: Sequence[str]) -> Features:
        longest = max(map(len, keys))
        mask = torch.tensor([[place < len(key) for place in range(longest)] for key in keys])
        return Features((mask.float().unsqueeze(-1),), mask)


def examples(count: int) -> list[Example]:
    return [Example(f"e{i}", "x" * (1 + i * 7 % 13), f"i{i}", i % 3, "family") for i in range(count)]


def loader(count: int) -> Loader:
    return Loader(examples(count), Lengths(), Lengths())


def rows_of(steps: Sequence[tuple[Batch, ...]]) -> list[int]:
    return [row for micro_batches in steps for batch in micro_batches for row in batch.rows]


def taken(count: int, steps: int, start: int = 0, seed: int = 0, batch: int = 8, micro: int = 8) -> list[int]:
    stream = loader(count).steps(seed, batch, micro, start)
    return rows_of([next(stream) for _ in range(steps)])


def test_an_epoch_is_every_example_at_most_once_and_leaves_another_remainder_each_time() -> None:
    rows = taken(30, steps=30)  # three steps of eight an epoch: six examples are left out
    epochs = [rows[at : at + 24] for at in range(0, len(rows), 24)]
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    left_out = {frozenset(range(30)) - set(epoch) for epoch in epochs}
    assert len(left_out) == len(epochs) == 10


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 100])
def test_it_starts_at_any_step_as_if_it_had_come_there(start: int) -> None:
    assert taken(30, steps=5, start=start) == taken(30, steps=start + 5)[start * 8 :]


def test_the_order_depends_on_the_seed_alone_not_on_the_micro_batch() -> None:
    assert taken(30, steps=10, micro=2) == taken(30, steps=10, micro=8)
    assert taken(30, steps=10, seed=1) != taken(30, steps=10, seed=0)


def test_micro_batches_split_a_step() -> None:
    step = next(loader(30).steps(0, 8, 3))
    assert [len(batch) for batch in step] == [3, 3, 2]


def test_starting_late_costs_no_walk_through_the_epochs() -> None:
    assert len(next(training_rows(1000, seed=0, batch=10, start=10**9))) == 10


def test_fewer_examples_than_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="8 is more than the 5 training examples") as caught:
        next(loader(5).steps(0, 8, 8))
    assert caught.value.key == "train.batch"


def test_a_batch_holds_its_examples() -> None:
    batch = loader(30).batch([4, 9])
    assert batch.targets.tolist() == [1, 0]
    assert isinstance(batch.text, Features)
    assert batch.text.mask is not None
    assert batch.text.mask.sum(1).tolist() == [len(examples(30)[row].text) for row in (4, 9)]


def test_evaluation_covers_every_example_once_with_little_padding() -> None:
    batches = list(loader(100).evaluation_batches(16))
    assert sorted(row for batch in batches for row in batch.rows) == list(range(100))
    masks = [batch.text.mask for batch in batches if isinstance(batch.text, Features)]
    padding = np.mean([1 - mask.float().mean().item() for mask in masks if mask is not None])
    assert padding < 0.15  # in the split's own order: 0.45


def test_evaluation_of_chosen_examples() -> None:
    assert sorted(row for batch in loader(100).evaluation_batches(16, range(0, 100, 7)) for row in batch.rows) == list(
        range(0, 100, 7)
    )


def test_fetching_ahead_changes_nothing_and_passes_errors_on() -> None:
    assert list(prefetch(iter(range(100)))) == list(range(100))

    def failing():  # type: ignore[no-untyped-def]
        yield 1
        raise ValueError("torn")

    stream = prefetch(failing())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="torn"):
        next(stream)


def test_the_random_numbers_of_a_step_are_its_own() -> None:
    masking: Any = object()
    options = BatchOptions(masking=masking, negatives_in_training=True)
    images = [f"i{i}" for i in range(8)]
    drawn = [training_seeds(options, seed, step, 8, images) for seed, step in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert drawn[0] == drawn[3]
    for name in ("masking", "augmentation", "negatives"):
        first, *others = [getattr(each, name) for each in drawn[:3]]
        assert len(first) == 8
        assert all(other != first for other in others), name
    assert len({*drawn[0].masking, *drawn[0].augmentation}) == 16
