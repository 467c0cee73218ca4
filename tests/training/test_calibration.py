"""What standardises the towers' channels: where a trained tower has dropout, and of a single token."""

from typing import Any

import torch
import toys  # noqa: F401 - registers the data sets
from tiny_runs import RunMaker, tiny_config

from mtlab.training import assemble
from mtlab.training.worker import train


def test_a_seed_draws_the_same_and_what_a_caller_draws_next_does_not_change(bert: dict[str, Any]) -> None:
    config, channels = tiny_config(text=bert, cache={"enabled": False}), []
    for before in (0, 1):
        torch.manual_seed(before)
        expected = torch.rand(3)
        torch.manual_seed(before)
        run = assemble.assemble(config, seed=0)
        assemble.calibrate(run.model, run.dataset, run.sources, seed=0)
        channels.append(dict(run.model.encoder.text.projections.named_buffers()))
        assert torch.equal(torch.rand(3), expected)
    assert channels[0].keys() == channels[1].keys()
    assert all(torch.equal(channels[0][name], channels[1][name]) for name in channels[0])


def test_one_question_for_all_images_that_nobody_reads_has_no_spread(make_run: RunMaker) -> None:
    vision = {"name": "tiny_vision", "depth": 1, "width": 16, "heads": 2, "image_size": 16}
    folder = make_run(text={"name": "blind"}, vision=vision, data="toy_votes", train={"length": {"steps": 2}})
    assert train(folder) == 0
