import subprocess
import sys

import numpy as np
import pytest
import torch

from mtlab.seeding import derive, noise_generator, order, seed_dropout


def test_derived_seeds_are_those_of_every_process_and_version() -> None:
    assert derive(0, "data", 3) == 6123093451022354501  # b2sum -l 64 of [0,"data",3], little-endian, halved
    assert derive(7, "noise", 12, 0, "text", 1, 0) == 7315749346017901671
    other = subprocess.run(
        [sys.executable, "-c", "from mtlab.seeding import derive; print(derive(0, 'data', 3))"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "123"},
    )
    assert int(other.stdout) == derive(0, "data", 3)


def test_every_part_counts() -> None:
    seeds = [derive(0), derive(1), derive(0, "a"), derive(0, "a", "b"), derive(0, "ab"), derive(0, 1), derive(0, "1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_order_of_an_epoch_is_fixed_for_good() -> None:
    assert order(0, 0, 10).tolist() == [6, 4, 3, 7, 5, 2, 0, 8, 9, 1]


def test_orders_are_permutations_that_differ_between_epochs_and_seeds() -> None:
    orders = [order(seed, epoch, 1000) for seed in range(3) for epoch in range(3)]
    assert all(np.array_equal(np.sort(found), np.arange(1000)) for found in orders)
    assert len({tuple(found.tolist()) for found in orders}) == 9
    firsts = np.array([order(seed, 0, 10)[0] for seed in range(2000)])
    assert np.bincount(firsts, minlength=10) == pytest.approx(200, abs=60)  # 4.5 standard deviations


def test_noise_differs_between_all_places_and_repeats() -> None:
    places = [(0, 0, "text", 0), (0, 0, "text", 1), (0, 0, "image", 0), (0, 1, "text", 0), (1, 0, "text", 0)]
    drawn = [torch.randn(4, generator=noise_generator(0, *place)) for place in places]  # type: ignore[arg-type]
    again = [torch.randn(4, generator=noise_generator(0, *place)) for place in places]  # type: ignore[arg-type]
    assert all(torch.equal(one, two) for one, two in zip(drawn, again, strict=True))
    assert len({tuple(values.tolist()) for values in drawn}) == len(places)


def test_dropout_rests_on_the_step_not_on_what_was_drawn_before() -> None:
    seed_dropout(0, 5, 1)
    first = torch.nn.functional.dropout(torch.ones(50))
    torch.randn(1000)
    seed_dropout(0, 5, 1)
    assert torch.equal(first, torch.nn.functional.dropout(torch.ones(50)))
    seed_dropout(0, 6, 1)
    assert not torch.equal(first, torch.nn.functional.dropout(torch.ones(50)))
