"""A study file of one's own: a recipe under a new name, that plans where it lies."""

import sys
from pathlib import Path

import pytest

from mtlab.cli import main
from mtlab.config import yaml
from mtlab.config.load import compose
from mtlab.errors import UserError
from mtlab.studies.recipes import list_recipes, rebase, rename


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["mtlab", "new", *map(str, arguments)])
    code = main()
    told = capsys.readouterr()
    return code, (told.out if code == 0 else told.err).strip()


def test_the_new_study_is_the_recipe_under_its_name_and_plans(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = call(monkeypatch, capsys, "mine")
    assert code == 0
    assert "written to mine.yaml" in out
    assert "mtlab plan mine.yaml · mtlab run mine.yaml" in out
    recipe = list_recipes()["quickstart"]
    source = recipe.read_text().replace("study.schema.json", str(recipe.parent / "study.schema.json"))
    assert (tmp_path / "mine.yaml").read_text() == source.replace("name: quickstart", "name: mine")
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", "mine.yaml"])
    assert main() == 0
    assert "\n# A first comparison in minutes" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize("recipe", sorted(list_recipes()))
def test_every_recipe_can_be_copied_and_means_the_same(recipe: str, tmp_path: Path) -> None:
    source = list_recipes()[recipe]
    copy = tmp_path / "copy.yaml"
    copy.write_text(rebase(rename(source.read_text(), "copy", source), source))
    copied, original = compose(copy).data, {**compose(source).data, "name": "copy"}
    start = original.get("init_from")
    if isinstance(start, dict) and "study" in start:  # the same file, called so that it is found from anywhere
        assert list_recipes()[copied.pop("init_from")["study"]] == source.parent / f"{start['study']}.yaml"
        del original["init_from"]
    assert copied == original


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("name: quickstart", "name: mine"),
        ("name: quickstart  # as in the docs", "name: mine  # as in the docs"),
        ("name: 'quick start'", "name: mine"),
        ("name: x\nset: {manager: {name: bridge}}\nname2: 3", "name: mine\nset: {manager: {name: bridge}}\nname2: 3"),
        ("set:\n  text:\n    name: minilm\nname: x", "set:\n  text:\n    name: minilm\nname: mine"),
    ],
)
def test_only_the_studys_own_name_changes(line: str, expected: str) -> None:
    assert rename(f"kind: ablation\n{line}\n", "mine", Path("x.yaml")) == f"kind: ablation\n{expected}\n"


def test_what_lies_beside_a_recipe_is_found_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    (shipped / "paper").mkdir(parents=True)
    (shipped / "presets").mkdir()
    (shipped / "presets/small.yaml").write_text("kind: preset\n")
    (shipped / "paper/common.yaml").write_text("kind: preset\nset: {train: {lr: 1e-4}}\n")
    (shipped / "paper/first.yaml").write_text("kind: ablation\nname: first\n")
    source = shipped / "paper/second.yaml"
    source.write_text(
        "name: second\nbase:\n  - presets/small\n  - common  # ours\nwhy: common sense\ninit_from: {study: first}\n"
    )
    monkeypatch.setattr("mtlab.config.load.recipe_folders", lambda: [shipped])
    text = rebase(source.read_text(), source)
    data = yaml.parse(text, source).data
    assert data["base"] == ["presets/small", "paper/common"]
    assert data["init_from"] == {"study": "paper/first"}
    assert data["why"] == "common sense"
    (tmp_path / "own.yaml").write_text(text)
    assert compose(tmp_path / "own.yaml").data["set"] == {"train": {"lr": 1e-4}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a/b"], "'a/b' is no name for a study"),
        (["mine", "--from", "quickstrat"], "no recipe 'quickstrat'; did you mean 'quickstart'? (known: "),
        (["mine", "--from", "zzzzzz"], "no recipe 'zzzzzz'; known: "),
        (["mine", "--out", "mine.txt"], "mine.txt: expected a file that ends in .yaml"),
        (["there"], "there.yaml: is there already"),
        (["mine", "--out", "/dev/null/x.yaml"], "/dev/null/x.yaml: cannot be written"),
    ],
)
def test_wrong_input_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("kind: ablation\n")
    code, told = call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert expected in told
    assert told.startswith("error: ")
    assert "\n" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]
    assert (tmp_path / "there.yaml").read_text() == "kind: ablation\n"


def test_a_recipe_without_a_name_is_told() -> None:
    with pytest.raises(UserError, match="has no line"):
        rename("kind: ablation\n", "mine", Path("x.yaml"))
