from pathlib import Path

import pytest

from mtlab.config.load import compose, find_study_file, merge
from mtlab.errors import UserError


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_folder_of_the_same_name_hides_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert find_study_file("quickstart").name == "quickstart.yaml"
    assert find_study_file(".") == Path()


def test_a_file_and_a_recipe_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = find_study_file("quickstart")
    (tmp_path / "quickstart.yaml").write_text("name: mine")
    with pytest.raises(UserError, match=r"is a file here and a recipe: say 'quickstart\.yaml' or '/") as caught:
        find_study_file("quickstart")
    assert str(recipe) in str(caught.value)
    monkeypatch.chdir(recipe.parent)  # where they are one
    assert find_study_file("quickstart") == recipe


def test_later_bases_win_and_lists_replace(tmp_path: Path) -> None:
    write(
        tmp_path,
        low="kind: preset\nset: {train: {lr: 1.0, batch: 8}, data: {families: [count, shape]}}",
        high="set: {train: {lr: 2.0}, data: {families: [colour]}}\nseeds: 3",
        study="name: s\nbase: [low, high]\nset: {train: {clip: null}}",
    )
    composed = compose(tmp_path / "study.yaml")
    assert composed.data["set"] == {"train": {"lr": 2.0, "batch": 8, "clip": None}, "data": {"families": ["colour"]}}
    assert composed.data["seeds"] == 3
    assert "kind" not in composed.data
    assert composed.locations["set.train.lr"] == (tmp_path / "high.yaml", 1)
    assert composed.locations["set.train.batch"] == (tmp_path / "low.yaml", 2)
    assert composed.locations["set.train.clip"] == (tmp_path / "study.yaml", 3)


def test_dotted_keys_of_settings_are_sections(tmp_path: Path) -> None:
    write(
        tmp_path,
        low="set: {train: {lr: 1.0, batch: 8}, manager: static}",
        study="base: low\nset:\n  train.lr: 2.0\n  manager.noise: 0.5\n  train: {clip: 1.0, length.steps: 5}",
    )
    composed = compose(tmp_path / "study.yaml")
    assert composed.data["set"] == {
        "train": {"lr": 2.0, "batch": 8, "clip": 1.0, "length": {"steps": 5}},
        "manager": {"name": "static", "noise": 0.5},
    }
    assert composed.locations["set.train.lr"] == (tmp_path / "study.yaml", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train.lr: 1.0, train: {lr: 2.0}", "set.train.lr: is given twice"),
        ("train.lr: 3, train: 5", "train is given a value of its own"),
        ("train: {length.steps: 3, length: {steps: 4}}", "set.train.length.steps: is given twice"),
    ],
)
def test_a_setting_given_twice_is_told(text: str, told: str, tmp_path: Path) -> None:
    write(tmp_path, study=f"set: {{{text}}}")
    with pytest.raises(UserError, match=told):
        compose(tmp_path / "study.yaml")


def test_an_override_that_names_a_node_wipes_none_of_its_options(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("kind: ablation\nname: s\nset: {vision: {name: timm, image_size: 64}}\n")
    options, name = "vision.image_size=252", "vision.name=dinov2_s"
    for overrides in ([options, name], [name, options]):
        assert compose(path, overrides).data["set"]["vision"] == {"name": "dinov2_s", "image_size": 252}
    for overrides in (["manager.temperature=2", "manager=static"], ["manager=static", "manager.temperature=2"]):
        assert compose(path, overrides).data["set"]["manager"] == {"name": "static", "temperature": 2}
    with pytest.raises(UserError, match=r"train\.length\.epochs and train\.length\.steps exclude each other: give one"):
        compose(path, ["train.length.steps=3", "train.length.epochs=3"])
    given, cleared = "train.length.epochs=2", "train.length.steps="
    for overrides in ([cleared, given], [given, cleared]):
        assert compose(path, overrides).data["set"]["train"]["length"] == {"epochs": 2}
    later = ["manager={name: static, temperature: 3}", "manager=bridge"]
    assert compose(path, later).data["set"]["manager"] == {"name": "bridge"}
    options = ["manager={temperature: 3}", "manager=sparse"]
    assert compose(path, options).data["set"]["manager"] == {"name": "sparse", "temperature": 3}
    again = compose(path, ["train.length.steps=3", "train.length.steps="]).data["set"]["train"]
    assert again["length"] == {"steps": None}
    cluster = ["study.launcher.partition=p", "study.launcher.name=slurm"]
    parent = ["study.init_from.seed=1", "study.init_from.study=A"]
    path.write_text("name: s\nlauncher: {name: local, at_once: 2}\ninit_from: {study: B, match: x}")
    for given in (
        cluster,
        cluster[::-1],
        [cluster[0], "study.launcher=slurm"],
        [cluster[0], "study.launcher={name: slurm}"],
    ):
        assert compose(path, given).data["launcher"] == {"name": "slurm", "partition": "p"}
    for given in (parent, parent[::-1], [parent[0], "study.init_from={study: A}"]):
        assert compose(path, given).data["init_from"] == {"study": "A", "seed": 1}
    whole = "vision={name: tiny_cnn, image_size: 32}"  # the last one wins, as it has options of its own
    assert compose(path, ["vision.image_size=64", whole]).data["set"]["vision"]["image_size"] == 32


def test_overrides_come_last(tmp_path: Path) -> None:
    write(tmp_path, study="name: s\nset: {train: {lr: 1.0}}\nseeds: 2")
    composed = compose(
        tmp_path / "study.yaml", ["train.lr=2e-3", "study.seeds=[4, 5]", "manager=static", "model.width=8"]
    )
    assert composed.data == {
        "name": "s",
        "set": {"train": {"lr": 2e-3}, "manager": {"name": "static"}, "model": {"width": 8}},
        "seeds": [4, 5],
    }
    assert composed.locations["set.train.lr"] == composed.locations["set.model.width"] == ("command line", None)


def test_what_merges_and_what_is_replaced_whole() -> None:
    low = {"manager": {"name": "static", "weight": "scalar"}, "train": {"length": {"steps": 5}, "lr": 1}}
    assert merge(low, {"manager": {"weight": "vector"}})["manager"] == {"name": "static", "weight": "vector"}
    assert merge(low, {"manager": {"name": "static"}})["manager"] == {"name": "static", "weight": "scalar"}
    assert merge(low, {"manager": {"name": "bridge"}})["manager"] == {"name": "bridge"}
    assert merge(low, {"train": {"length": {"flops": 1e9}}})["train"] == {"length": {"flops": 1e9}, "lr": 1}
    assert low["manager"] == {"name": "static", "weight": "scalar"}


@pytest.mark.parametrize(
    ("low", "high", "both"),
    [
        ("sampler: {name: tpe, n_startup_trials: 3}", "sampler: {name: gp}", {"name": "gp"}),
        ("sampler: {n_startup_trials: 3}", "sampler: {name: gp}", {"name": "gp"}),
        ("sampler: {n_startup_trials: 3}", "sampler: {name: tpe}", {"name": "tpe", "n_startup_trials": 3}),
        ("pruner: {name: median, n_min_trials: 3}", "pruner: {name: hyperband}", {"name": "hyperband"}),
        ("launcher: {name: slurm, partition: p}", "launcher: {name: local}", {"name": "local"}),
        ("launcher: slurm", "launcher: {partition: p}", {"name": "slurm", "partition": "p"}),
        ("init_from: {study: A, match: x}", "init_from: {study: B}", {"study": "B"}),
        ("init_from: {study: A, match: x}", "init_from: {checkpoint: c}", {"checkpoint": "c"}),
        ("init_from: {study: A, match: x}", "init_from: {seed: 1}", {"study": "A", "match": "x", "seed": 1}),
    ],
)
def test_options_go_with_their_name_outside_of_the_nodes_too(low: str, high: str, both: object, tmp_path: Path) -> None:
    write(tmp_path, low=low, study=f"base: low\n{high}")
    assert list(compose(tmp_path / "study.yaml").data.values()) == [both]


def test_another_transform_of_images_starts_anew() -> None:
    low = {"train": {"augment": {"name": "clip_randaug", "level": 4}}}
    assert merge(low, {"train": {"augment": {"name": "blip_randaug"}}})["train"] == {
        "augment": {"name": "blip_randaug"}
    }
    same = merge(low, {"train": {"augment": {"name": "clip_randaug", "draws": 1}}})
    assert same["train"]["augment"] == {"name": "clip_randaug", "level": 4, "draws": 1}


def test_a_circle_of_bases_is_told(tmp_path: Path) -> None:
    write(tmp_path, a="base: b", b="base: [c]", c="base: a")
    with pytest.raises(UserError, match=r"base: is based on itself: a\.yaml → b\.yaml → c\.yaml → a\.yaml"):
        compose(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: presets/smal", "did you mean 'presets/small'?"),
        ("base: {a: 1}", "expected a file name"),
        ("base: [1]", "expected a file name"),
    ],
)
def test_a_wrong_base_is_told(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, study=f"name: s\n{text}")
    with pytest.raises(UserError, match=r"study\.yaml:2: base: ") as caught:
        compose(tmp_path / "study.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["train.lr", "=3", "a b=1", "train..lr=1", "[x]=1"])
def test_a_wrong_override_is_told(tmp_path: Path, text: str) -> None:
    write(tmp_path, study="name: s")
    with pytest.raises(UserError, match=r"command line: .*expected key=value"):
        compose(tmp_path / "study.yaml", [text])
