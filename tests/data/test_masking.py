"""Hiding words: how many, behind what, which never, and always the same for one seed."""

import numpy as np
import torch

from mtlab.data.masking import Masking, uniform
from mtlab.towers.base import Vocabulary

MASK, START, PAD = 3, 1, 0
VOCABULARY = Vocabulary(1000, MASK, frozenset({PAD, START, MASK}), frozenset(range(900, 1000)))


def texts(count: int, length: int, first: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Make texts of distinct words behind a start token, each padded by one."""
    ids = torch.arange(first, first + length).repeat(count, 1)
    start, end = torch.full((count, 1), START), torch.full((count, 1), PAD)
    ids = torch.cat([start, ids, end], 1)
    return ids, ids != PAD


def test_a_share_of_the_words_is_hidden_in_three_ways() -> None:
    ids, mask = texts(2000, 30)
    found = Masking(VOCABULARY, 0.15, whole_words=False).mask((ids, mask), range(2000), at_least_one=False)
    shown, _ = found.inputs
    flat, before = shown.flatten(), ids.flatten()
    assert torch.equal(before[found.positions], found.labels)
    assert abs(len(found.positions) / (2000 * 30) - 0.15) < 0.005
    now = flat[found.positions]
    shares = [(now == MASK).float().mean(), (now == found.labels).float().mean()]
    assert abs(shares[0] - 0.8) < 0.01
    assert abs(shares[1] - 0.1) < 0.01
    other = now[(now != MASK) & (now != found.labels)]
    assert 900 > len(other.unique()) > 500, "any id may stand for a word"
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[found.positions] = False
    assert torch.equal(flat[kept], before[kept])
    assert not {START, PAD} & set(found.labels.tolist())


def test_what_is_hidden_of_a_text_depends_on_its_seed_alone() -> None:
    masking = Masking(VOCABULARY, 0.3, whole_words=False)
    ids, mask = texts(4, 12)
    whole = masking.mask((ids, mask), [5, 6, 7, 5], at_least_one=False)
    alone = masking.mask((ids[2:3], mask[2:3]), [7], at_least_one=False)
    length = ids.shape[1]
    assert torch.equal(whole.inputs[0][2], alone.inputs[0][0])
    assert torch.equal(whole.inputs[0][0], whole.inputs[0][3])
    row = whole.positions // length == 2
    assert (whole.positions[row] - 2 * length).tolist() == alone.positions.tolist()
    longer = torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5))  # beside a longer text
    padded = masking.mask(longer, [5, 6, 7, 5], at_least_one=False)
    assert torch.equal(padded.inputs[0][:, :length], whole.inputs[0])


def test_a_text_that_chance_spares_may_have_to_hide_one() -> None:
    masking = Masking(VOCABULARY, 1e-6, whole_words=False)
    ids, mask = texts(50, 6)
    assert len(masking.mask((ids, mask), range(50), at_least_one=False).positions) == 0
    found = masking.mask((ids, mask), range(50), at_least_one=True)
    assert sorted((found.positions // ids.shape[1]).tolist()) == list(range(50))
    blank = torch.tensor([[START, PAD]])
    assert len(masking.mask((blank, blank != PAD), [0], at_least_one=True).positions) == 0


def test_whole_words_are_hidden_or_none_of_their_pieces() -> None:
    ids = torch.tensor([[START, 10, 11, 900, 901, 12, 902, 13, 14, 15, 16, PAD]])
    words = [[1], [2, 3, 4], [5, 6], [7], [8], [9], [10]]
    masking = Masking(VOCABULARY, 0.3, whole_words=True)
    sizes = set()
    for seed in range(200):
        places = masking.mask((ids, ids != PAD), [seed], at_least_one=False).positions.tolist()
        hidden = [word for word in words if set(word) & set(places)]
        assert sorted(place for word in hidden for place in word) == places
        sizes.add(len(places))
    assert sizes == {3}, "three of ten tokens, whichever words they are"


def test_numbers_are_those_of_raw_bits() -> None:
    drawn = uniform(7, 10_000)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert abs(drawn.mean() - 0.5) < 0.01
    assert drawn[0] == (np.random.PCG64(7).random_raw(1)[0] >> np.uint64(11)) / 2**53
