import json
from pathlib import Path
from typing import Any

import pytest
import torch
from imagined import free
from safetensors.torch import save_file
from tiny_runs import RunMaker, lines, tiny_config
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.runs import checkpoints
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study
from mtlab.training.assemble import assemble, calibrate
from mtlab.training.init_from import find_checkpoint, load_initial_weights, other_levels, trained_towers
from mtlab.training.worker import train


def test_what_fits_is_loaded_and_the_rest_is_said(tmp_path: Path) -> None:
    teacher, pupil = (assemble(tiny_config(model={"cross_layers": 1}), seed=seed).model for seed in (1, 2))
    given = {name: tensor.clone() for name, tensor in checkpoints.model_tensors(teacher).items()}
    kept = "encoder.text.layers.0.feed_forward.widen.weight"
    given["task.head.3.weight"], given["stranger"] = torch.zeros(7, 32), torch.zeros(1)
    before = pupil.state_dict()[kept].clone()
    del given[kept]
    save_file(given, tmp_path / "given.safetensors")
    said = load_initial_weights(pupil, tmp_path / "given.safetensors")[1]
    after = pupil.state_dict()
    assert torch.equal(after[kept], before)
    changed = [name for name in given if name in after and name != "task.head.3.weight"]
    assert all(torch.equal(after[name], given[name]) for name in changed)
    whole = len(checkpoints.model_tensors(pupil))
    assert said[0] == f"{whole - 2} of the model's {whole} tensors are from {tmp_path / 'given.safetensors'}"
    assert set(said[1:]) == {
        f"  kept {kept}: not there",
        "  kept task.head.3.weight: (4, 32) here, (7, 32) there",
        "  left stranger: not in this model",
    }


def test_managers_of_other_levels_start_anew(tmp_path: Path) -> None:
    """Weights of single levels have a place, not a name: those of levels 2 and 3 would weigh 1 and 3."""
    vision = {"name": "tiny_vision", "depth": 3, "width": 16}
    data = {"name": "shapes", "train": 16, "val": 8, "test": 8}
    configs = [
        tiny_config(manager={"name": "static"}, vision={**vision, "layers": layers}, data=data)
        for layers in ([2, 3], [1, 3])
    ]
    assert other_levels(configs[0], configs[1]) == ["image"]
    assert other_levels(configs[0], configs[0]) == []
    teacher, pupil = (assemble(config, seed=seed).model for seed, config in enumerate(configs))
    given = checkpoints.model_tensors(teacher)
    for name, tensor in given.items():
        if name.endswith(".score"):
            tensor[:, -1] += 5.0
    save_file(given, tmp_path / "given.safetensors")
    before = {name: tensor.clone() for name, tensor in checkpoints.model_tensors(pupil).items()}
    said = load_initial_weights(pupil, tmp_path / "given.safetensors", ["image"])[1]
    for name, tensor in checkpoints.model_tensors(pupil).items():
        start = before if name.startswith("encoder.image.managers.") or name not in given else given
        assert torch.equal(tensor, start[name]), name
    count = sum(name.startswith("encoder.image.managers.") for name in given)
    assert f"  left {count} weights of the managers of image: they are of other levels" in said


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    save_file({"stranger": torch.zeros(1)}, tmp_path / "given.safetensors")
    with pytest.raises(UserError, match="none of its 1 tensors") as caught:
        load_initial_weights(assemble(tiny_config(), seed=0).model, tmp_path / "given.safetensors")
    assert caught.value.key == "init_from"


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run!",))


def test_a_file_that_holds_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Code()}, tmp_path / "given.pt")
    with pytest.raises(UserError, match="code"):
        load_initial_weights(assemble(tiny_config(), seed=0).model, tmp_path / "given.pt")
    assert "run!" not in capsys.readouterr().out


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert find_checkpoint({"checkpoint": str(path), "digest": None}, [], tmp_path) == path
    with pytest.raises(UserError, match="has changed since"):
        find_checkpoint({"checkpoint": str(path), "digest": "0" * 64}, [], tmp_path)
    with pytest.raises(UserError, match="no such checkpoint"):
        find_checkpoint({"checkpoint": str(tmp_path / "none"), "digest": None}, [], tmp_path)


def test_a_child_starts_from_its_parents_best_checkpoint(make_run: RunMaker) -> None:
    parent = make_run("parent", seed=0)
    link = {"cell": "parent", "seed": 0}
    child = make_run("child", seed=4, parents=[link], init_from=link, train={"length": {"steps": 1}, "lr": 1e-12})
    assert train(child) == 2
    assert "not finished" in json.loads((child / "failure.json").read_text())["error"]
    assert train(parent) == 0
    assert train(child) == 0
    result = json.loads((parent / "result.json").read_text())
    assert lines(child, "val/loss")[0]["val/loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-4)


def test_levels_that_a_file_lacks_are_standardised_as_its_own_tower_makes_them(tmp_path: Path) -> None:
    """A bridge has statistics of one level, its child needs those of three, of the tower as it was fine-tuned."""
    vision = {"name": "tiny_vision", "depth": 3, "width": 16, "layers": "all", "trainable": True}
    sections: dict[str, Any] = {"vision": vision, "data": {"name": "shapes", "train": 16, "val": 8, "test": 8}}
    bridge = {"name": "bridge", "experts": [2, 2]}
    teacher = assemble(tiny_config(manager=bridge, **sections), seed=0).model
    with torch.no_grad():
        for parameter in teacher.towers["vision"].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    given = checkpoints.model_tensors(teacher)
    held = "encoder.image.projections.centre_2"
    given[held].add_(1.0)  # what was learned with is kept, whatever the levels are now
    save_file(given, tmp_path / "given.safetensors")
    config = tiny_config(manager={"name": "mean"}, init_from={"checkpoint": "given"}, **sections)
    run = assemble(config, seed=0, initial=tmp_path / "given.safetensors")
    found = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
    assert torch.equal(found[held], given[held])
    calibrate(run.model, run.dataset, run.sources, seed=0)
    for level in (1, 3):
        name = f"encoder.image.projections.centre_{level}"
        torch.testing.assert_close(found[name], run.model.get_buffer(name))


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_a_checkpoint_of_a_fine_tuned_tower_is_refused_where_the_tower_is_frozen(tmp_path: Path, kind: str) -> None:
    """A frozen tower comes from its own file: what the parent has learned would be dropped."""
    sections: dict[str, dict[str, Any]] = {
        "text": {},
        "vision": {"name": "tiny_vision", "depth": 3, "width": 16, "layers": "all"},
        "data": {"name": "shapes", "train": 16, "val": 8, "test": 8},
    }
    sections[kind]["trainable"] = True
    config = tiny_config(**sections)
    checkpoints.save(tmp_path / "best.safetensors", checkpoints.model_tensors(assemble(config, seed=0).model), {})
    assert trained_towers(tmp_path / "best.safetensors") == {kind: None}

    def plan(settings: str) -> Any:
        path = write_study(tmp_path, f"init_from: best.safetensors\n{settings}")
        return make_plan(read_study(path), free)

    with pytest.raises(
        UserError, match=f"study.yaml:3: init_from: 'base' freezes the {kind} tower that its parent fine-t"
    ):
        plan("")
    (cell,) = plan(f"set: {{{kind}: {{trainable: true}}}}").cells
    assert cell.config["init_from"]["checkpoint"] == str(tmp_path / "best.safetensors")


def test_a_checkpoint_that_is_cut_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"\x99")
    with pytest.raises(UserError, match=r"init_from: .*best.safetensors: cannot be read: "):
        make_plan(read_study(write_study(tmp_path, "init_from: best.safetensors")), free)
