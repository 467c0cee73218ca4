"""The card of a testbed: which rows play which part, the room between levels, and what may be claimed."""

import json
import os
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from calling import mtlab
from fabric import FAMILIES
from trained_here import run_study

from mtlab import files
from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.report.testbed.card import _shares, build_card
from mtlab.report.testbed.claims import claim_aggregation
from mtlab.report.testbed.rows import CardRow
from mtlab.report.testbed.text import cards_markdown
from mtlab.runs.results import write_result
from mtlab.runs.store import Store
from mtlab.statistics.intervals import mean_interval
from mtlab.statistics.power import smallest_detectable

#: family → accuracy, in the order of FAMILIES, on validation and on test data
LEVELS = {
    "image 1": ((0.90, 0.40, 0.50), (0.85, 0.45, 0.50)),
    "image 2": ((0.60, 0.80, 0.60), (0.55, 0.81, 0.60)),
    "image 3": ((0.70, 0.70, 0.75), (0.90, 0.70, 0.75)),  # best on the first family of test data, not of validation
}
OTHERS = {
    "mean": ((0.80, 0.80, 0.70), (0.80, 0.80, 0.70)),
    "bridge a": ((0.85, 0.75, 0.70), (0.85, 0.75, 0.70)),
    "bridge b": ((0.85, 0.70, 0.70), (0.95, 0.95, 0.95)),  # best on test data, not on validation
    "text only": ((0.30, 0.30, 0.30), (0.34, 0.34, 0.34)),
    "image only": ((0.30, 0.30, 0.30), (0.32, 0.32, 0.32)),
    "wide": ((0.95, 0.95, 0.90), (0.95, 0.95, 0.90)),
}
SEEDS = 3
SHIFT = 0.02  #: of seed s, against that of seed 0, over all families


def config_of(label):
    """Write the settings that tell a row's part."""
    manager = {"mean": "mean", "wide": "mean"}.get(label, "bridge" if label.startswith("bridge") else "last")
    config = {"manager": {"name": manager}, "text": {"name": "minilm"}, "vision": {"name": "dinov2_s"}}
    if label == "text only":
        config["vision"] = {"name": "blind"}
    if label == "image only":
        config["text"] = {"name": "blind"}
    config |= {"data": {"name": "shapes"}, "model": {"width": 128 if label == "wide" else 64}}
    parent = {"cell": f"pre-trained {label}", "seed": 0}  # of its own, and no other size or length
    return config | {"train": {"batch": 32, "length": {"steps": 800}}, "init_from": parent}


def pairing_of(label):
    if label.startswith("image ") and label[-1].isdigit():
        return {"text": [[6], [], []], "image": [[int(label[-1])], [], []]}
    if label.startswith("bridge"):
        return {"text": [[4], [5], [6]], "image": [[1], [2], [3]]}
    return {"text": [[4, 5, 6]] * 3, "image": [[1, 2, 3]] * 3}


def put(fabric, label, seed, accuracies, *, families=True, floor=1 / 3):
    """Finish a run with these accuracies by family, validation and test."""
    folder = fabric.finish(label.replace(" ", "_"), seed, 0.5)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"config": config_of(label)}))
    result, shift = json.loads((folder / "result.json").read_text()), SHIFT * (seed - 1)
    metrics = {}
    for split, values in zip(("val", "test"), accuracies, strict=True):
        shifted = [value + shift for value in values]
        metrics[f"{split}/accuracy"] = sum(shifted) / 3
        if families:
            metrics |= {f"{split}/accuracy/{name}": value for name, value in zip(FAMILIES, shifted, strict=True)}
    for place in ("", *(f"/{name}" for name in FAMILIES)):
        metrics |= {f"test/accuracy_floor{place}": floor, f"test/accuracy_floor_error{place}": 0.01}
    write_result(folder, result | {"metrics": metrics})
    curve = ((200, 0.4), (400, 0.6), (600, 0.595), (800, 0.605))  # at 400 it is within 1 point of its best
    steps = [{"step": step, "val/accuracy": value} for step, value in curve]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))


def plan_of(fabric, labels, **changes):
    plan = fabric.plan([label.replace(" ", "_") for label in labels], SEEDS, "mean", **changes)
    for row, label in zip(plan["rows"], labels, strict=True):
        row |= {"label": label, "pairing": pairing_of(label), "blind": label.endswith("only")}
    return plan


@pytest.fixture
def bed(fabric):
    """Give the plan of a testbed whose runs are finished."""
    rows = LEVELS | OTHERS
    for label, accuracies in rows.items():
        for seed in range(SEEDS):
            put(fabric, label, seed, accuracies)
    return plan_of(fabric, list(rows))


def test_rows_play_the_part_that_their_configuration_says(fabric, bed):
    card = build_card(fabric.store, bed)
    found = {row.label: row.role for row in card.rows}
    assert found == dict.fromkeys(LEVELS, "single level") | {
        "mean": "mean",
        "bridge a": "bridge",
        "bridge b": "bridge",
        "text only": "text only",
        "image only": "image only",
        "wide": "other",  # another width than the other rows
    }
    assert [row.levels for row in card.of_role("single level")] == [((6,), (1,)), ((6,), (2,)), ((6,), (3,))]
    assert (card.towers, card.steps, card.batch) == ({"text": "minilm", "image": "dinov2_s"}, 800, 32)


def test_rows_are_chosen_on_validation_and_measured_on_test_data(fabric, bed):
    card = build_card(fabric.store, bed)
    assert {name: row.label for name, row in card.compared.items()} == {
        "best single level": "image 3",
        "mean": "mean",
        "best bridge": "bridge a",
    }
    assert card.ceiling is not None
    assert card.ceiling.label == "wide"
    assert card.ceiling.mean.mean == pytest.approx(2.8 / 3)


def test_runs_that_rows_start_from_are_none_of_its_own(fabric, bed):
    put(fabric, "early", 0, ((0.9, 0.9, 0.9), (0.9, 0.9, 0.9)), floor=0.8)
    early = bed["runs"][0] | {"id": "early/s0", "cell": "early", "label": "early"}
    cards = [build_card(fabric.store, plan) for plan in (bed, bed | {"runs": [early, *bed["runs"]]})]
    assert len({(card.runs, str(card.guess)) for card in cards}) == 1


def test_what_ten_seeds_detect_counts_test_examples_as_the_study_does(fabric, bed):
    """All seeds differ alike, so that test examples are all that a difference is uncertain by."""
    number = pl.col("id").str.slice(1).cast(pl.Int64)
    for cell, right in {"mean": number % 2 == 0, "bridge_a": number % 2 == 1, "image_3": number % 3 == 0}.items():
        for seed in range(SEEDS):
            folder = fabric.store.run(f"{cell}/s{seed}")
            outcomes = pl.read_parquet(folder / "examples.parquet").with_columns(score=right.cast(pl.Float64))
            outcomes.write_parquet(folder / "examples.parquet")
            result = json.loads((folder / "result.json").read_text())
            accuracy = outcomes.filter(split="test")["score"].mean()
            write_result(folder, result | {"metrics": result["metrics"] | {"test/accuracy": accuracy}})
    card = build_card(fabric.store, bed | {"test": "paired_t"})
    assert card.detectable is None
    assert "at least 2 seeds that differ are needed" in card.claims[0].sentence
    of_pairs = sorted([1.0, 17 / 36, 17 / 36])  # variance of an example's difference: ±1, or 0 in half of all
    expected = (1.96 + 0.84) * (of_pairs[1] / 300) ** 0.5
    assert build_card(fabric.store, bed).detectable == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("test", ["paired_t", "paired_t_examples", "bootstrap"])
def test_what_ten_seeds_detect_counts_the_spread_over_seeds(fabric, bed, test):
    """Outcomes of examples do not agree with these results, so that the spread over seeds alone is left."""
    gaps = (-0.02, 0.0, 0.02)  # over three seeds, of `mean` alone: against both others
    for seed, gap in enumerate(gaps):
        folder = fabric.store.run(f"mean/s{seed}")
        result = json.loads((folder / "result.json").read_text())
        accuracy = result["metrics"]["test/accuracy"] + gap
        write_result(folder, result | {"metrics": result["metrics"] | {"test/accuracy": accuracy}})
    expected = smallest_detectable(0.02, 10)
    assert build_card(fabric.store, bed | {"test": test}).detectable == pytest.approx(expected, rel=1e-6)


def test_the_room_is_that_of_the_levels_which_validation_chooses(fabric, bed):
    room = build_card(fabric.store, bed).room
    assert room is not None
    assert {one.family: one.best.label for one in room.families} == dict(zip(FAMILIES, LEVELS, strict=True))
    assert [one.gain for one in room.families] == pytest.approx([0.85 - 0.90, 0.81 - 0.70, 0.0])
    assert room.oracle.mean == pytest.approx((0.85 + 0.81 + 0.75) / 3)
    assert room.gain.mean == pytest.approx((-0.05 + 0.11) / 3)
    assert room.gain.sd == pytest.approx(0)  # seeds shift all levels alike


def test_the_interval_of_the_room_lies_within_what_can_be(fabric, bed):
    plan = bed | {"runs": [run for run in bed["runs"] if run["seed"] < 2]}
    put(fabric, "image 2", 1, ((0.60, 0.80, 0.60), (0.55, 0.01, 0.60)))
    room = build_card(fabric.store, plan).room
    assert room.gain.interval == (-1.0, 1.0)
    assert (min(room.oracle.interval) >= 0, max(room.oracle.interval) <= 1) == (True, True)


def test_floor_is_the_best_blind_answer(fabric, bed):
    card = build_card(fabric.store, bed)
    assert card.guess is not None
    assert card.guess.score == pytest.approx(1 / 3)
    assert card.floor == pytest.approx(0.34)  # of the model that sees the text only
    assert {row.label: row.learned for row in card.rows} == dict.fromkeys((*LEVELS, *OTHERS), True) | {
        "text only": None,
        "image only": None,
    }
    put(fabric, "mean", 1, ((0.8, 0.8, 0.7), (0.35, 0.36, 0.34)))  # above the floor, by less than two standard errors
    card = build_card(fabric.store, bed)
    assert [row.learned for row in card.of_role("mean")] == [False]
    assert "not all seeds of mean have learned: the floor is 34.0" in card.claims[0].sentence


def test_spread_and_steps_to_the_plateau(fabric, bed):
    card = build_card(fabric.store, bed)
    assert card.spread == pytest.approx(SHIFT)
    assert {row.plateau for row in card.rows} == {400}


def row_of(role, results, *, learned=True):
    seeds = dict(enumerate(results))
    return CardRow("a", "a", {}, role, ((6,), (1,)), seeds, seeds, {}, {}, learned, mean_interval(results), None)


def aggregation(results, floor=0.4, detectable=0.01, learned=True):
    rows = {name: row_of("mean", scores, learned=learned) for name, scores in results.items()}
    return claim_aggregation(rows, floor, detectable, "test/accuracy")


SOUND = {"best single level": [0.80, 0.81], "mean": [0.70, 0.71], "best bridge": [0.75, 0.74]}


@pytest.mark.parametrize(
    ("results", "settings", "told"),
    [
        (SOUND, {"learned": False}, "not all seeds of best single level, mean, best bridge have learned"),
        (SOUND, {"learned": None}, "the floor is 40.0"),
        (SOUND | {"best bridge": [0.99, 0.98]}, {}, "no room below 100: the best has 98.5"),
        (SOUND, {"detectable": 0.2}, "seeds spread too much: 10 detect 20.0 points"),
        (SOUND, {"detectable": None}, "at least 2 seeds that differ are needed"),
        (SOUND, {"floor": None}, "not measured yet"),
        ({"mean": [0.7, 0.7]}, {}, "not measured yet"),
    ],
)
def test_what_carries_no_claim(results, settings, told):
    claim = aggregation(results, **settings)
    assert not claim.carries
    assert claim.sentence.startswith("Carries no claim about ways to aggregate levels: ")
    assert told in claim.sentence


def test_what_may_carry_a_claim():
    claim = aggregation(SOUND)
    assert claim.carries
    assert claim.sentence == (
        "May carry claims about ways to aggregate levels: best single level, mean, best bridge have from 70.5 to 80.5, "
        "between a floor of 40.0 and 100; 10 seeds detect 1.0 points."
    )


def test_adaptivity_needs_room_that_validation_and_test_agree_on(fabric, bed):
    small = build_card(fabric.store, bed).claims[1]
    assert not small.carries
    assert "gains +2.0 points over 'image 3' for all, and 3.0 points are needed" in small.sentence
    for seed in range(SEEDS):
        put(fabric, "image 3", seed, ((0.70, 0.70, 0.75), (0.70 + 0.01 * seed, 0.70, 0.75)))
    card = build_card(fabric.store, bed)
    assert card.room is not None
    assert card.room.gain.mean == pytest.approx((0.15 - 0.01 * (SEEDS - 1) / 2 + 0.11) / 3)
    assert card.claims[1].carries
    assert "colour: image 1, count: image 2, existence: image 3" in card.claims[1].sentence
    for seed in range(SEEDS):
        put(fabric, "image 3", seed, ((0.70, 0.70, 0.75), (0.70, 0.70, 0.75)), floor=0.72)
    assert "not all seeds of 'image 3', the best single level, have learned" in (
        build_card(fabric.store, bed).claims[1].sentence
    )


def test_too_little_for_a_card(fabric, bed):
    with pytest.raises(UserError, match=r"judged by a share of examples, such as test/accuracy, not by test/loss"):
        build_card(fabric.store, bed | {"metrics": bed["metrics"] | {"verdict": "test/loss"}})
    with pytest.raises(UserError, match=r"'trial' is no testbed: no finished row is `last` on a single level"):
        build_card(fabric.store, plan_of(fabric, ["mean", "bridge a"]))
    empty = Store.open(fabric.store.root.parent / "empty", create=True)
    with pytest.raises(UserError, match=r"no run of 'trial' is finished: `mtlab run trial.yaml --store .*empty`"):
        build_card(empty, bed)


def test_half_a_testbed_has_a_card(fabric):
    for seed in (1, 2):
        put(fabric, "image 1", seed, LEVELS["image 1"], families=False)
    plan = plan_of(fabric, ["image 1", "image 2", "mean"])
    card = build_card(fabric.store, plan)
    assert card.room is None
    assert [claim.carries for claim in card.claims] == [False, False]
    assert "So far, with 2 of 9 runs finished" in cards_markdown([card])
    json.dumps(card.to_dict(), allow_nan=False)


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["mtlab", "testbed", *map(str, words)])
    return main()


def test_the_command_prints_and_writes_the_card(fabric, bed, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    folder = fabric.store.write_plan("trial", bed).parent
    root = fabric.store.root
    assert call(monkeypatch, "trial", "--store", root) == 0
    shown = capsys.readouterr().out
    for words in ("image 3 ★", "bridge a ★", "oracle", "claim", "testbed.md"):
        assert words in shown
    assert call(monkeypatch, "trial", "trial", "--store", root, "--out", root / "cards.json") == 0
    both = json.loads((root / "cards.json").read_text())["testbeds"]
    written = json.loads((folder / "report" / "testbed.json").read_text())
    assert both == [written, written]
    assert (folder / "report" / "testbed.md").read_text().startswith("# trial\n")
    assert call(monkeypatch, "trial", "--store", root, "--out", root / "card.txt") == 2
    assert "card.txt: ends in none of .md, .json: name one, or give --format\n" in capsys.readouterr().err
    assert call(monkeypatch, "trial", "trial", "--store", root, "--format", "md") == 0
    assert "| testbed | floor |" in capsys.readouterr().out


def test_a_read_only_store_shows_the_card(fabric, bed, monkeypatch, capsys):
    def read_only(path, _):
        raise files.ReadOnlyError("cannot be written: the file system is read-only", file=path)

    fabric.store.write_plan("trial", bed)
    monkeypatch.setattr(files, "write_text", read_only)
    assert call(monkeypatch, "trial", "--store", fabric.store.root) == 0
    shown, note = capsys.readouterr()
    assert "oracle" in shown
    assert "written to" not in shown
    assert note.startswith("note: not written: ")


def test_the_card_of_an_archive_is_shown_alone(fabric, bed, tmp_path, monkeypatch, capsys):
    fabric.store.write_plan("trial", bed)
    root, path = fabric.store.root, tmp_path / "trial.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mtlab.json", json.dumps({"format": 1, "study": "trial"}))
        for file in root.rglob("*.json*"):
            archive.write(file, f"store/{file.relative_to(root)}")
    assert call(monkeypatch, "trial", "--store", path) == 0
    shown, note = capsys.readouterr()
    assert "oracle" in shown
    assert "written to" not in shown
    assert note == f"note: not written: {path}: is an archive, to be read alone\n"


def test_documented_keys(fabric, bed):
    page = (Path(__file__).parents[2] / "docs/json.md").read_text().split("## `mtlab testbed")[1].partition("\n## ")[0]
    data = build_card(fabric.store, bed).to_dict()
    parts = [data, data["rows"][0], data["room"], data["room"]["families"][0], data["claims"][0]]
    assert not {key for part in parts for key in part if f"`{key}`" not in page}


def test_wrong_input_is_one_line(fabric, bed, monkeypatch, capsys):
    root = fabric.store.root
    assert call(monkeypatch, "testbeds/nowhere", "--store", root) == 2
    assert call(monkeypatch, "testbeds/shapes_hard_vit", "--store", root) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert "no such file, and no recipe of that name" in lines[0]
    assert "study 'shapes_hard_vit' has no plan" in lines[1]


SHORT = """
kind: ablation
base: [presets/shapes, presets/testbed_cnn]
name: short
why: Does a card come out of real runs?
set:
  text: {name: tiny_text, depth: 6, width: 16}
  vision: {name: tiny_vision, depth: 5, width: 16}
  data: {families: [existence, colour], train: 64, val: 48, test: 48, image_size: 32}
  model: {width: 16, heads: 2, cross_layers: 3, mlp_ratio: 1}
  train: {batch: 8, length: {steps: 4}, eval_every: 2}
axes:
  model.width: [32]
seeds: [1000]
"""


@pytest.mark.slow
def test_the_shipped_rows_from_the_file_to_the_card(tmp_path):
    """The rows are those of the preset; the towers are as deep as its own."""
    file = tmp_path / "short.yaml"
    file.write_text(SHORT)
    run_study(file, Store.open(Path(os.environ["MTLAB_STORE"]), create=True))
    done = mtlab("testbed", file, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    card = json.loads(done.stdout)
    roles = [row["role"] for row in card["rows"]]
    assert {role: roles.count(role) for role in roles} == {
        "mean": 1,
        "single level": 10,
        "bridge": 3,
        "text only": 1,
        "image only": 1,
        "other": 1,  # twice as wide
    }
    assert card["guess"] == {"score": 0.375, "families": {"colour": 0.25, "existence": 0.5}}
    assert [one["family"] for one in card["room"]["families"]] == ["colour", "existence"]
    assert not any(claim["carries"] for claim in card["claims"])
    assert all(row["plateau"] in (2, 4) for row in card["rows"])


def test_an_image_of_retrieval_counts_in_both_directions_however_many_seeds() -> None:
    ids, families = ["a", "a", "b", "b"] * 2, ["image retrieval", "text retrieval"] * 4
    row = CardRow("", "", {}, "mean", ((), ()), {}, {}, {}, {}, None, mean_interval([0.5, 0.6]), None)
    found = _shares({"cell": pl.DataFrame({"id": ids, "family": families, "split": "test"})}, row)
    assert found == {"image retrieval": 0.5, "text retrieval": 0.5}
