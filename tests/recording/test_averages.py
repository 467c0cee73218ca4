"""Averages against computations by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numbered import Numbers
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.managers.base import Aggregated, Modality
from mtlab.model.mllm.offered import OfferedRows
from mtlab.recording.averages import record_averages
from mtlab.recording.layer_similarity import LayerSimilarity
from mtlab.recording.probe import RecordedBatch, sample_evenly
from mtlab.recording.trace import recorded_steps
from mtlab.towers.base import Features

CPU = torch.device("cpu")
N, P = 3, 1  #: experts, previous states


def loader(count: int) -> Loader:
    examples = [Example(f"e{n}", f"{n}" + "x" * (n * 7 % 5), f"{n}", 0, "f") for n in range(count)]
    return Loader(examples, Numbers(), Numbers())


def weight(number: int, length: int) -> Tensor:
    """The weights of an example's real tokens, [N + P, n + 1]; its last expert has no weight at all."""
    drawn = torch.rand(N + P, number + 1, generator=torch.Generator().manual_seed(number))
    drawn[N - 1] = 0
    drawn[:N] /= drawn[:N].sum(0)
    return torch.cat([drawn, torch.full((N + P, length - number - 1), 1000.0)], 1)  # padding must not be read


def look(batch: Batch) -> RecordedBatch:
    assert isinstance(batch.text, Features)
    assert batch.text.mask is not None
    numbers = batch.text.levels[0][:, 0, 0].long().tolist()
    length = batch.text.mask.shape[1]
    hidden = torch.zeros(len(numbers), length, 2)
    text = torch.stack([weight(number, length) for number in numbers])
    shared = torch.tensor([[0.25, 0.0], [0.75, 1.0]]).view(1, 2, 1, 2)  # per dimension, alike for all tokens
    masks: dict[Modality, Tensor | None] = {"text": batch.text.mask, "image": None}
    managers = {
        ("text", 0): Aggregated(hidden, text.unsqueeze(-1).expand(-1, -1, -1, 2), text),
        ("image", 0): Aggregated(hidden, shared, None),
    }
    return RecordedBatch(managers, masks, {}, {("text", 0): torch.tensor(0.5)})  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_weights_over_real_tokens_alone(batch: int) -> None:
    count = 6
    found = record_averages(look, loader(count), range(count), batch, CPU, {"text": range(N), "image": range(2)})
    each = [weight(n, n + 1).double().numpy() for n in range(count)]
    tokens = np.concatenate(each, 1)
    by_hand = {
        "weights/text/0": tokens.mean(1),
        "weights_tokens/text/0": np.mean([one.std(1) for one in each], 0),
        "weights_examples/text/0": np.std([one.mean(1) for one in each], 0),
        "weights_entropy/text/0": np.mean(-(tokens[:2] * np.log(tokens[:2])).sum(0)) / np.log(N),
        "weights/image/0": [0.125, 0.875],
        "weights_tokens/image/0": [0.0, 0.0],
        "weights_examples/image/0": [0.0, 0.0],
        "weights_entropy/image/0": -(0.125 * np.log(0.125) + 0.875 * np.log(0.875)) / np.log(2),
        "temperature/text/0": 0.5,
    }
    for name, expected in by_hand.items():
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(
            found.get(name.replace("weights", "contributions"), found[name]).numpy(), expected, rtol=1e-5, atol=1e-7
        )
    assert not any(name.startswith("contributions") and "image" in name for name in found)


def test_levels_that_a_manager_is_not_offered_count_for_nothing() -> None:
    """Two levels weighed alike, of four in the tower."""
    manager = OfferedRows((0, 2), 4).recorded(Aggregated(torch.zeros(2, 5, 1), torch.full((1, 3, 1, 1), 0.5), None))

    def recorder(_: Batch) -> RecordedBatch:
        return RecordedBatch({("image", 2): manager}, {"text": None, "image": None}, {}, {})

    found = record_averages(recorder, loader(2), range(2), 2, CPU, {"text": (), "image": range(1, 5)})
    assert found["weights_entropy/image/2"].item() == pytest.approx(1)
    nan = torch.nan
    torch.testing.assert_close(found["weights/image/2"], torch.tensor([0.5, nan, 0.5, nan, 0.5]), equal_nan=True)


def test_cosine_and_cka_in_batches() -> None:
    """Against the definition on all tokens at once; far from zero mean, where sums of squares lose digits."""
    torch.manual_seed(0)
    one = torch.randn(50, 8) + 100
    two = one @ torch.randn(8, 8) + torch.randn(50, 8)
    outputs = torch.stack([one, two, 3 * one])
    similarity = LayerSimilarity()
    for part in outputs.split(7, 1):
        similarity.add(part)
    x, y = (each.double().numpy() - each.double().numpy().mean(0) for each in (one, two))
    norm = np.linalg.norm
    cka = norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y))
    cosine = torch.nn.functional.cosine_similarity(one.double(), two.double(), dim=-1).mean()
    found = similarity.cka()
    assert found is not None
    assert found[0, 1].item() == found[1, 0].item() == pytest.approx(cka, rel=1e-5)
    torch.testing.assert_close(found.diagonal(), torch.ones(3))
    assert found[0, 2].item() == pytest.approx(1, rel=1e-6)  # the scale does not count
    assert similarity.cosine()[0, 1].item() == pytest.approx(cosine.item(), rel=1e-5)


def test_cka_is_left_out_where_its_sums_would_not_fit() -> None:
    outputs = torch.randn(3, 20, 8)
    sums = 6 * 8 * 8 * 8  # bytes: pairs of layers, D², float64
    for most, fits in ((sums, True), (sums - 1, False)):
        similarity = LayerSimilarity(most)
        similarity.add(outputs)
        assert (similarity.cka() is not None) is fits
        torch.testing.assert_close(similarity.cosine().diagonal(), torch.ones(3))


def test_examples_are_spread_over_families_and_within_them() -> None:
    examples = [Example(str(n), "", "", 0, f"f{n % 4}") for n in range(400)]
    chosen = sample_evenly(examples, 40)
    assert chosen == sorted(set(chosen))
    families = [examples[row].family for row in chosen]
    assert {families.count(f"f{n}") for n in range(4)} == {10}
    assert max(chosen) - min(chosen) > 350
    assert sample_evenly(examples[:7], 40) == list(range(7))


def test_steps_are_spaced_logarithmically_up_to_the_last() -> None:
    assert sorted(recorded_steps(1000)) == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert sorted(recorded_steps(30)) == [0, 1, 2, 5, 10, 20, 30]
    assert sorted(recorded_steps(1)) == [0, 1]
