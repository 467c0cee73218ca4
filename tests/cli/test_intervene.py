"""`mtlab intervene`: what weights are worth, asked of a finished run, which stays as it is."""

import errno
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import recordings
import torch
from calling import Told, here
from trained_here import trained_store

from mtlab import files
from mtlab.cli.models.intervene import _family_table
from mtlab.inference import intervention, loading
from mtlab.inference.intervention import load_run
from mtlab.model.forward import ForwardContext
from mtlab.runs.find_run import FinishedRun, find_run
from mtlab.runs.store import Store
from mtlab.tasks.evaluation import evaluate

STUDY = """
kind: ablation
name: worth
why: Something to take apart.
set:
  text: {name: tiny_text, depth: 3, width: 16, layers: all}
  vision: {name: planted, depth: 3, planted: 2, width: 16, tokens: 3}
  data: {name: planted, train: 200, val: 60, test: 20}
  model: {width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}
  train: {batch: 20, length: {steps: 60}, eval_every: 20, lr: 5e-3}
  record: {interventions: false}
axes: {manager: [static, adaptive, last]}
seeds: 3
"""
TRAINED = {("static", 0), ("static", 1), ("adaptive", 0), ("adaptive", 1), ("last", 0)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one study, of which seed 2 and one more run are not finished."""
    folder = tmp_path_factory.mktemp("worth")
    file = folder / "worth.yaml"
    file.write_text(STUDY)
    return trained_store(file, lambda config: (config["label"], config["seed"]) in TRAINED)


@pytest.fixture
def told(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    copied = tmp_path / "runs"
    shutil.copytree(store, copied)
    monkeypatch.setenv("MTLAB_STORE", str(copied))
    monkeypatch.setenv("MTLAB_CACHE", str(store.parent / "cache"))
    return here(monkeypatch, capsys, "intervene")


def kept(tmp_path: Path, name: str = "worth:static:0") -> Path:
    root = tmp_path / "runs"
    return root / "derived" / find_run(name, root).id / "interventions.json"


@pytest.mark.slow
def test_all_that_can_be_measured_is_shown_and_kept_and_the_run_stays(told: Told, tmp_path: Path) -> None:
    run = find_run("worth:static:0", tmp_path / "runs").folder
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    code, out, err = told("worth:static:0")
    assert code == 0, err
    for words in ("all alike", "alike for all tokens", "without level 3", "of seed 1", str(kept(tmp_path))):
        assert words in out.replace("\n", "")
    found = json.loads(kept(tmp_path).read_text())
    assert found.keys() == {"standard", "swap/1"}
    assert found["swap/1"].keys() == {"metric", "text", "image", "both"}
    assert found["swap/1"]["metric"] == "val/accuracy"
    assert found["standard"]["text"].keys() == {"by", "uniform", "token_mean", "without", "families"}
    assert found["standard"]["image"]["families"] == {
        level: {"sum": value} for level, value in found["standard"]["image"]["without"].items()
    }
    assert "image level 1" not in out  # one family is no table
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()} == before


def test_families_have_a_table_of_what_they_lose_without_each_level(tmp_path: Path) -> None:
    metrics = {"val/accuracy": 0.7, "val/accuracy/colour": 0.8, "val/accuracy/count": 0.6}
    store = SimpleNamespace(result=lambda _: {"metrics": metrics})
    found = FinishedRun(tmp_path, tmp_path / "best", {"cell": "x", "seed": 0}, cast("Store", store))
    measured = recordings.interventions()
    table = _family_table(found, {"standard": measured})
    assert table is not None
    assert [str(column.header) for column in table.columns] == ["without", "colour", "count"]
    rows = list(zip(*(map(str, column.cells) for column in table.columns), strict=True))
    value = measured["image"]["families"]["5"]["count"]
    shown = next(row for row in rows if row[0] == "image level 5")
    assert shown[2] == f"{100 * (value - 0.6):+.1f}".replace("-", "−")
    assert len(rows) == sum(len(measured[modality]["families"]) for modality in ("text", "image"))
    of_one = {"metric": "val/accuracy", "text": {"without": {}}, "image": {"without": {"1": 0.5}, "families": {}}}
    assert _family_table(found, {"standard": of_one}) is None


def test_a_static_manager_with_other_weights_is_one_whose_scores_are_swapped(told: Told, tmp_path: Path) -> None:
    """By hand: the other seed's scores and temperatures put into the model, everything else its own."""
    code, _, err = told("worth:static:0", "--swap", 1)
    assert code == 0, err
    root = tmp_path / "runs"
    mine, other = (load_run(find_run(f"worth:static:{seed}", root), device="cpu") for seed in (0, 1))
    assert not torch.equal(mine.model.encoder.text.managers[1].score, other.model.encoder.text.managers[1].score)
    for (modality, depth), manager in mine.model.encoder.managers():
        if modality == "image":
            theirs = dict(other.model.encoder.managers())[modality, depth]
            manager.score.data.copy_(theirs.score)
            manager.temperature.data.copy_(theirs.temperature)
    judged = evaluate(ForwardContext(mine.model, mine.runtime), mine.loader, 64)
    assert json.loads(kept(tmp_path).read_text())["swap/1"]["image"] == judged.scores["accuracy"].mean()


def test_what_is_known_is_not_measured_again(told: Told, tmp_path: Path) -> None:
    assert told("worth:adaptive:0", "--swap", 1)[0] == 0
    path = kept(tmp_path, "worth:adaptive:0")
    first = json.loads(path.read_text())
    assert first.keys() == {"swap/1"}
    path.write_text(json.dumps({"swap/1": {**first["swap/1"], "text": 0.125}}))
    assert told("worth:adaptive:0", "--swap", 1)[0] == 0
    assert json.loads(path.read_text())["swap/1"]["text"] == 0.125
    assert told("worth:adaptive:0", "--swap", 1, "--again")[0] == 0
    assert json.loads(path.read_text()) == first
    code, out, _ = told("worth:adaptive:0", "--json")
    printed = json.loads(out)
    assert code == 0
    assert printed["swap/1"] == first["swap/1"]
    assert printed.keys() == {"format", "run", "label", "value", "standard", "swap/1"}
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    assert not {key for key in printed if f"`{key.replace('swap/1', 'swap/SEED')}`" not in page}


def test_a_read_only_store_shows_the_result_and_keeps_none(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, _: object) -> None:
        raise files.ReadOnlyError("cannot be written: the file system is read-only", file=path)

    monkeypatch.setattr(files, "write_json", read_only)
    code, out, err = told("worth:static:1", "--swap", 0)
    assert (code, "of seed 0" in out, "written to" in out) == (0, True, False)
    assert "note: not written, as the store is read-only" in err


def test_what_is_measured_again_in_a_read_only_store_is_not_told_to_be_written(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told("worth:static:1", "--swap", 0)[0] == 0

    def read_only(path: Path, _: object) -> None:
        raise files.ReadOnlyError("cannot be written: the file system is read-only", file=path)

    monkeypatch.setattr(files, "write_json", read_only)
    monkeypatch.setattr(
        intervention, "_swap", lambda *_: {"metric": "val/accuracy", "text": 0.1, "image": 0.1, "both": 0.1}
    )
    code, out, err = told("worth:static:1", "--swap", 0, "--again")
    assert (code, "written to" in out) == (0, False)
    assert "note: not written, as the store is read-only" in err


def test_a_full_disk_is_told_before_anything_is_measured(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(intervention, "load_run", lambda *_, **__: pytest.fail("the model was loaded"))
    code, out, err = told("worth:static:1")
    assert (code, out) == (2, "")
    assert "the disk is full" in " ".join(err.split())


def test_a_run_alone_in_its_cell_has_no_weights_to_take(told: Told, tmp_path: Path) -> None:
    code, out, err = told("worth:last:0")
    assert code == 0, err
    assert "no other seed of this cell is finished" in out
    assert json.loads(kept(tmp_path, "worth:last:0").read_text()).keys() == {"standard"}


def test_a_plug_in_that_takes_no_other_weights_is_known_once_it_is_imported(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[object] = []
    monkeypatch.setattr(loading, "import_run_plugins", lambda *run, **_: imported.append(run))
    monkeypatch.setattr(intervention, "why_no_swap", lambda _: "it runs several passes" if imported else None)
    code, out, err = told("worth:static:0")
    assert code == 0, err
    assert "it runs several passes" in out
    assert json.loads(kept(tmp_path).read_text()).keys() == {"standard"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("worth:static:0", "--swap", "2"), "static has no other finished seed 2 (finished: 1)"),
        (("worth:static:0", "--swap", "0"), "static has no other finished seed 0 (finished: 1)"),
        (("worth:static:2",), "is not finished"),
        (("worth:static:0", "--device", "tpu"), "command line: --device: 'tpu' is no device"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(told: Told, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = told(*arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert len(err.strip().splitlines()) <= 2
