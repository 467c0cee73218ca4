from dataclasses import dataclass
from pathlib import Path

import pytest

from mtlab.config.check import check_and_fill, check_config, check_config_once, to_plain
from mtlab.config.schema import ModelConfig, TrainConfig
from mtlab.errors import UserError
from mtlab.studies.spec import StudyKeys


def test_fills_in_defaults_and_types() -> None:
    config = to_plain(check_config(TrainConfig, {"lr": 1, "length": {"steps": 3}}))
    assert config["lr"] == 1.0
    assert isinstance(config["lr"], float)
    assert config["length"] == {"steps": 3, "epochs": None, "flops": None}
    assert config["betas"] == [0.9, 0.98]
    whole = to_plain(check_config(TrainConfig, {"batch": 8.0, "length": {"steps": 1e3}, "micro_batch": 4.0}))
    assert [whole["batch"], whole["length"]["steps"], whole["micro_batch"]] == [8, 1000, 4]
    assert type(whole["length"]["steps"]) is int


@pytest.mark.parametrize(
    ("schema", "given", "told"),
    [
        (TrainConfig, {"lrr": 1}, "lrr: unknown key; did you mean 'lr'?"),
        (TrainConfig, {"epochs": 3}, "epochs: unknown key; did you mean 'length.epochs'?"),
        (TrainConfig, {"length": {"step": 1}}, "length.step: unknown key; did you mean 'steps'?"),
        (TrainConfig, {"lr": "fast"}, "lr: expected a number, found 'fast'"),
        (TrainConfig, {"lr": -1}, "lr: -1.0 is out of range: must be above 0"),
        (TrainConfig, {"lr": float("nan")}, "lr: nan is not a finite number"),
        (TrainConfig, {"length": {"steps": 0}}, "length.steps: 0 is out of range: must be at least 1"),
        (TrainConfig, {"length": 3}, "length: expected a mapping, found 3"),
        (TrainConfig, {"length": {"steps": 1, "epochs": 2}}, "length: give one of steps, epochs, flops"),
        (TrainConfig, {"batch": 1.5}, "batch: expected a whole number, found 1.5"),
        (TrainConfig, {"batch": True}, "batch: expected a number, found true"),
        (TrainConfig, {"batch": "${oc.env:HOME}"}, "batch: resolvers (${…}) are not allowed: write the value"),
        (TrainConfig, {"decay": "cosin"}, "decay: 'cosin' is not one of "),
        (TrainConfig, {"betas": [0.9, 1]}, "betas: 1.0 is out of range: must be below 1"),
        (TrainConfig, {"betas": 0.9}, "betas: expected a list, found 0.9"),
        (TrainConfig, {"decay": ["cosine"]}, "decay: expected a single value, found a list"),
        (StudyKeys, {"plugins": "mine"}, "plugins: expected a list, found 'mine'"),
        (StudyKeys, {"why": ["a"]}, "why: expected a single value, found a list"),
        (ModelConfig, {"heads": 5}, "heads: 5 heads do not divide the width 64"),
    ],
)
def test_refuses_in_one_line(schema: type, given: dict, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_config(schema, given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class InAFolder:
    """Options that make a path absolute, as those of one's own questions do."""

    folder: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", str(Path(self.folder).absolute()))


def test_a_relative_path_is_read_anew_in_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        asked = str(tmp_path / name / "asked")
        assert check_config_once(InAFolder, {"folder": "asked"}).folder == asked
        assert check_and_fill(InAFolder, {"folder": "asked"}) == {"folder": asked}
