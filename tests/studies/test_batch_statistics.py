"""What computes with all examples of a batch: a split of the batch, which no id has, would change what is learnt."""

from pathlib import Path
from typing import Any

import pytest
from imagined import free
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study

MIX = "manager: {name: scalar_mix, layer_norm: true}"
TGIF = "manager: {name: tgif, hidden: 8, entropy: 0.1}"
BATCH_NORM = "vision: {name: efficientnet_lite0, trainable: true}"


def plan(folder: Path, settings: str, *overrides: str) -> Any:
    return make_plan(read_study(write_study(folder, f"set: {{{settings}}}"), overrides), free)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (MIX, "manager 'scalar_mix' with these options"),
        (TGIF, "manager 'tgif' with these options"),
        (BATCH_NORM, "a trained vision tower with batch norm"),
    ],
)
def test_a_smaller_micro_batch_is_refused(tmp_path: Path, settings: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, settings, "train.micro_batch=4")
    assert f"train.micro_batch: {what} computes with all examples of a forward pass" in str(caught.value)
    assert "\n" not in str(caught.value)
    plan(tmp_path, settings, "train.micro_batch=8")  # the batch itself


@pytest.mark.parametrize(
    "settings", [MIX.replace("true", "false"), TGIF.replace("0.1", "0"), BATCH_NORM.replace("true", "false")]
)
def test_where_examples_are_independent_a_batch_may_be_split(tmp_path: Path, settings: str) -> None:
    plan(tmp_path, settings, "train.micro_batch=4", "study.resources.processes=2")


def test_a_manager_that_mixes_examples_is_trained_by_one_process(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"resources.processes: manager 'scalar_mix' .*: train in one process"):
        plan(tmp_path, MIX, "study.resources.processes=2")
