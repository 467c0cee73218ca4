"""A plug-in reaches every command: list, plan, run, train, report, check; and none is imported that was refused."""

import importlib
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from calling import Told

from mtlab.config.registry import Registry
from mtlab.errors import UserError
from mtlab.launch.prepare import plan_study
from mtlab.managers.base import MANAGERS, Manager
from mtlab.studies.plan import run_configs
from mtlab.training.worker import _check_content


def test_brackets_in_docs_are_shown_as_they_stand(plugin: Callable[..., Path], told: Told, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    study = plugin(
        "plug_marked",
        ("A static mixture.", "Weigh [B, N] states [/bold] :key: of it."),
        ('"multiplies', '"[red] multiplies'),
    )
    for arguments in (["managers"], ["managers", "plug_marked"]):
        code, out, err = told("list", *arguments, "--plugin", study)
        once = "importing plug-in plug_marked\n" if arguments == ["managers"] else ""  # this process has it by then
        assert (code, err) == (0, once)
        assert "[/bold] :key: of it." in " ".join(out.split())
    assert "[red] multiplies the scores" in " ".join(out.split())


def test_list_shows_it_with_where_it_comes_from(plugin: Callable[..., Path], told: Told, monkeypatch) -> None:
    study = plugin("plug_listed")
    code, out, err = told("list", "managers", "--plugin", study)
    assert (code, err) == (0, "importing plug-in plug_listed\n")
    assert "plug-in" in out
    assert "A static mixture." in out
    code, out, _ = told("list", "managers", "plug_listed", "--plugin", study.with_suffix(".py"), "--json")
    (entry,) = json.loads(out)
    assert (entry["name"], entry["origin"]) == ("plug_listed", "plug_listed")
    assert entry["options"][0]["help"] == "multiplies the scores"
    monkeypatch.chdir(study.parent)
    assert told("list", "managers", "plug_listed", "--plugin", "plug_listed")[0] == 0
    code, _, err = told("list", "managers", "--plugin", "nowhere.py")
    assert (code, err) == (2, "error: nowhere.py: no such plug-in file\n")


@pytest.mark.parametrize(
    "start",
    [
        "torch.tensor(torch.linspace(0, 1, place.experts).tolist())",
        "torch.full((place.experts,), 1 / torch.ones(4).norm().item())",
        "torch.from_numpy(np.zeros(place.experts, np.float32))",
    ],
)
def test_a_constructor_may_read_numbers(plugin: Callable[..., Path], told: Told, tmp_path: Path, start: str) -> None:
    changes = [("import torch\n", "import numpy as np\nimport torch\n")]
    changes += [("torch.zeros(1, place.experts, 1, 1)", f"{start}.view(1, -1, 1, 1)")]
    code, out, err = told("plan", plugin("plug_reads", *changes), "--store", tmp_path / "store")
    assert (code, err) == (0, "importing plug-in plug_reads\n")
    assert "plug_reads" in out


@pytest.mark.slow
def test_plan_run_and_report(plugin: Callable[..., Path], told: Told, tmp_path: Path) -> None:
    study, store = plugin("plug_run"), tmp_path / "store"
    code, out, err = told("plan", study, "--store", store, "--json")
    assert (code, err) == (0, "importing plug-in plug_run\n")
    plan = json.loads(out)
    assert [row["label"] for row in plan["rows"]] == ["static", "plug_run"]

    code, _, err = told("run", study, "--store", store, "--no-plugins")
    assert code == 2
    assert f"{study}:5: plugins: asks for plug-ins (plug_run), which --no-plugins refuses" in err
    assert not list(store.glob("cells/*"))

    code, out, err = told("run", study, "--store", store, "--workers", 1)
    assert code == 0, err
    run = next(store / "cells" / run["id"] for run in plan["runs"] if run["label"] == "plug_run")
    assert "importing plug-in plug_run" in (run / "log.txt").read_text()

    study.with_suffix(".py").write_text(study.with_suffix(".py").read_text() + "# changed since\n")
    code, _, err = told("plan", study, "--store", store)
    assert (code, f"{study.with_suffix('.py')} has changed since it was imported: runs use it as" in err) == (0, True)
    importlib.reload(sys.modules["plug_run"])
    out = told("plan", study, "--store", store)[1]
    assert "the source of plug-in manager:plug_run has changed since 1 of the finished runs" in " ".join(out.split())

    assert "the source of plug-in manager:plug_run has changed since this run was planned" in told("eval", run)[2]
    old = tmp_path / "old" / "plug_run.py"  # which is given in place of the edited one beside the study
    old.parent.mkdir()
    old.write_text(study.with_suffix(".py").read_text().removesuffix("# changed since\n"))
    del sys.modules["plug_run"], MANAGERS.entries["plug_run"]
    assert "has changed" not in told("eval", run, "--plugin", old)[2]
    sys.path.remove(str(old.parent))
    del sys.modules["plug_run"], MANAGERS.entries["plug_run"]
    code, _, err = told("intervene", run, "--again")
    assert (code, "put it back, or raise its version and run the study again" in err) == (2, True)
    code, out, err = told("run", study, "study.seeds=2", "--store", store, "--workers", 1)
    assert "the source of plug-in manager:plug_run has changed since 1 of the finished runs" in err
    assert "versions of plug-in manager:plug_run: " in " ".join(told("report", study, "--store", store)[1].split())
    content = json.loads((run / "config.json").read_text())
    versions = {**content["identity"]["versions"], "manager:plug_run": 2}
    with pytest.raises(UserError, match="manager:plug_run went from version 2 to 1 since this run was planned"):
        _check_content(content["config"], {**content["identity"], "versions": versions})

    moved = tmp_path / "moved" / "plug_run.py"
    moved.parent.mkdir()
    study.with_suffix(".py").rename(moved)
    del sys.modules["plug_run"], MANAGERS.entries["plug_run"]
    assert "`--plugin FILE` imports it from elsewhere" in told("eval", run)[2]
    assert told("eval", run, "--plugin", moved)[0] == 0
    del sys.modules["plug_run"], MANAGERS.entries["plug_run"]
    sys.path.remove(str(moved.parent))
    look = ("inspect", run, "--example", "train/3")  # not recorded: the model is run on it
    assert "`--plugin FILE` imports it from elsewhere" in told(*look)[2]
    assert told(*look, "--plugin", moved)[0] == 0
    moved.unlink()  # what only reads needs no plug-in
    del MANAGERS.entries["plug_run"]
    code, out, _ = told("report", study, "--store", store, "--json")
    assert code == 0
    assert [row["n"] for row in json.loads(out)["rows"]] == [2, 2]
    assert told("status", study, "--store", store)[0] == 0

    (run / "result.json").unlink()
    code, _, err = told("train", run, "--no-plugins")
    assert code == 2
    assert "which --no-plugins refuses" in err


def test_a_study_that_others_start_from_has_plug_ins_of_its_own(
    plugin: Callable[..., Path], told: Told, tmp_path: Path
) -> None:
    parent, child = plugin("plug_parent"), tmp_path / "elsewhere" / "child.yaml"
    start = f"init_from: {{study: {parent}, match: {{manager: static}}}}"
    text = parent.read_text().replace("name: plug_parent", "name: child").replace("plugins: [plug_parent]", start)
    child.parent.mkdir()
    child.write_text(text.replace("[static, plug_parent]", "[static]"))
    code, _, err = told("plan", child, "--store", tmp_path / "store", "--no-plugins")
    assert code == 2
    assert "asks for plug-ins (plug_parent)" in err
    plan = plan_study(child, (), plugins=True)
    first, second = run_configs(plan).values()
    assert (first["plugins"], first["plugin_folder"]) == (["plug_parent"], str(parent.parent))
    assert (second["plugins"], second["plugin_folder"]) == ([], str(child.parent))


def test_check_tells_rule_by_rule(plugin: Callable[..., Path], told: Told) -> None:
    good = plugin("plug_good")
    code, out, _ = told("check", "plug_good", "--plugin", good, "--json")
    found = json.loads(out)
    rules = {rule["rule"]: rule for rule in found["rules"]}
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    assert not {key for part in (found, found["rules"][0]) for key in part if f"`{key}`" not in page}
    assert code == 0
    assert {rule["verdict"] for rule in rules.values()} == {"kept", "skipped"}
    assert rules["noise_reaches_the_output"]["reason"] == "asks for no noise"
    assert all(rule["says"] for rule in rules.values())


def test_check_names_what_is_broken(plugin: Callable[..., Path], told: Told) -> None:
    leaky = plugin("plug_leaky", (".sum(1)\n", ".sum(1) + inputs.experts.states.mean((1, 2)).unsqueeze(1)\n"))
    code, out, _ = told("check", "plug_leaky", "--plugin", leaky)
    assert code == 1
    said = "✗ Padded tokens, and how many there are, change neither real tokens' output nor the auxiliary loss."
    assert said in " ".join(out.split())
    assert "Tensor-likes are not close!" in out
    assert "1 broken" in out
    code, _, err = told("check", "plug_laeky")
    assert code == 2
    assert err == "error: unknown manager 'plug_laeky'; did you mean 'plug_leaky'?\n"


class Point:
    """An installed package's entry point."""

    def __init__(self, value: str, load: Callable[[], object]) -> None:
        self.value, self.load = value, load


def fails() -> object:
    raise RuntimeError("no licence")


def installed(monkeypatch: pytest.MonkeyPatch, *points: Point) -> Registry[Manager]:
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "mtlab.managers" else ())
    return Registry("manager", MANAGERS.packages, "mtlab.managers", Manager, entries=dict(MANAGERS.entries))


def test_an_entry_point_that_fails_is_remembered_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgotten(Manager):
        pass

    registry = installed(monkeypatch, Point("theirs.gate", fails), Point("other:Forgotten", lambda: Forgotten))
    assert "static" in {entry.name for entry in registry}
    problems = {failure.plugin: failure.error for failure in registry.failures}
    assert problems["theirs.gate"].startswith("RuntimeError: no licence (test_plugins.py:")
    assert "put @register_manager('NAME') above the class" in problems["other:Forgotten"]
    assert "Traceback" in registry.failures[0].trace
    with pytest.raises(
        Exception, match=r"unknown manager 'gate'.*plug-in theirs.gate failed: RuntimeError: no licence"
    ):
        registry.get("gate")
