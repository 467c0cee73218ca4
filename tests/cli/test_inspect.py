"""`mtlab inspect`: what recorded examples draw on, and any image and sentence, on the terminal, as a page, as JSON."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from calling import Told, here
from PIL import Image
from tiny_study import write_study
from trained_here import trained_store

from mtlab.inference.inspection import inspect
from mtlab.recording import reader
from mtlab.recording.reader import Tokens
from mtlab.runs.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished study of two managers, and one run that has not been started."""
    folder = tmp_path_factory.mktemp("inspected")
    file = write_study(folder, "axes: {manager: [adaptive, bridge]}\nseeds: 2")
    return trained_store(file, lambda config: config["seed"] == 0)


@pytest.fixture
def told(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.setenv("MTLAB_STORE", str(store))
    monkeypatch.setenv("COLUMNS", "110")
    return here(monkeypatch, capsys, "inspect")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(path)
    return path


def directory(store: Path, label: str = "adaptive") -> Path:
    plan = Store.open(store).plan("study")
    (run,) = [run["id"] for run in plan["runs"] if (run["label"], run["seed"]) == (label, 0)]
    return store / "cells" / run


def known(store: Path) -> Tokens:
    read = reader.read_tokens(directory(store))
    assert isinstance(read, Tokens)
    return read


def test_a_recorded_example_is_shown_word_by_word_and_patch_by_patch(told: Told, store: Path) -> None:
    tokens = known(store)
    wanted = tokens.examples[2]
    code, out, err = told("study:adaptive:0", "--example", wanted.id)
    assert code == 0, err
    assert f"“{wanted.text}”  {wanted.id}" in out
    assert (f"✗ answers {wanted.prediction}, right: {wanted.truth}" in out) == (wanted.prediction != wanted.truth)
    for word in wanted.tokens:
        assert re.search(rf"{re.escape(word)}[₁₂₃]", out)
    assert out.count("layer 2") >= 4  # words and patches, and the means of both
    assert "Contribution: share of what a manager hands on" in out
    more = f"{len(tokens.examples) - 1} more examples are recorded: --example 1 to {len(tokens.examples)}, or by id"
    assert f"{more}, such as {tokens.examples[0].id}" in " ".join(out.split())
    by_number = told("study:adaptive:0", "--example", "3")[1]
    assert by_number.replace(", number 3 of the recorded examples", "") == out != by_number
    code, out, _ = told("study:adaptive:0", "--weights")
    assert f"“{tokens.examples[0].text}”" in out
    assert "Weight: as the manager uses it" in out


def test_running_the_model_gives_what_was_recorded(told: Told, store: Path) -> None:
    """The same example once from the record and once from the model, as a run without a record has it."""
    kept, tokens = directory(store) / "tokens.safetensors", known(store)
    told_of = tokens.examples[1]
    from_record = json.loads(told("study:adaptive:0", "--example", told_of.id, "--json")[1])
    aside = kept.rename(kept.with_name("aside"))
    try:
        code, out, err = told("study:adaptive:0", "--example", told_of.id, "--json")
    finally:
        aside.rename(kept)
    assert code == 0, err
    from_model = json.loads(out)
    assert "was not recorded" in from_model["remarks"][0]
    for key in ("example", "truth", "prediction", "kind", "title"):
        assert from_model[key] == from_record[key]
    for modality in ("text", "image"):
        for one, other in zip(from_model[modality]["layers"], from_record[modality]["layers"], strict=True):
            assert [each["token"] for each in one["tokens"]] == [each["token"] for each in other["tokens"]]
            assert [each["place"] for each in one["tokens"]] == [each["place"] for each in other["tokens"]]
            for mine, recorded_ in zip(one["tokens"], other["tokens"], strict=True):
                np.testing.assert_allclose(mine["parts"], recorded_["parts"], atol=2e-3)  # the cache holds half floats


def test_any_image_and_sentence(told: Told, picture: Path) -> None:
    code, out, err = told("study:adaptive:0", "--image", picture, "--text", "Is there a red circle?")
    assert code == 0, err
    assert "“Is there a red circle?”" in out
    assert "answers " in out
    assert "right:" not in out
    page, link = picture.with_name("page.html"), picture.with_name("link.html")
    link.symlink_to(page.name)
    assert told("study:adaptive:0", "--image", picture, "--text", "a cat <b>", "--html", link)[0] == 0
    assert link.is_symlink()
    text = page.read_text(encoding="utf-8")
    assert "a cat <b>" not in text
    assert "data:image/png;base64," in text
    assert "plotly.js v" not in text


def test_an_example_that_was_not_recorded_is_run(told: Told, store: Path) -> None:
    code, out, err = told("study:adaptive:0", "--example", "test/3/1")
    assert code == 0, err
    assert "”  test/3/1" in out
    assert "more examples" not in out


def test_bridges_have_contributions_and_weights(told: Told) -> None:
    assert "mean contribution of level" in told("study:bridge:0")[1]
    assert "mean weight of level" in told("study:bridge:0", "--weights")[1]


def test_a_run_may_be_named_by_folder_and_checkpoint(told: Told, store: Path) -> None:
    run = directory(store)
    for name in (run, run / "checkpoints/best.safetensors", f"{run.parent.name}/s0"):
        code, out, err = told(name)
        assert code == 0, err
        assert f"{run.parent.name}/s0, best checkpoint, of step " in out
    last = run / "checkpoints/last.safetensors"
    if last.exists():
        assert ", last checkpoint" in told(last)[1]


def test_json_keys_are_documented(told: Told) -> None:
    page = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
    data = json.loads(told("study:adaptive:0", "--json")[1])
    assert not {key for key in data if f"`{key}`" not in page}
    layer = data["image"]["layers"][1]
    assert (layer["layer"], len(data["image"]["levels"])) == (2, 3)
    first = layer["tokens"][-1]
    assert first["level"] == data["image"]["levels"][int(np.argmax(first["parts"]))]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--image", "x.png"], "--image: goes with --text SENTENCE"),
        (["--text", "hello"], "--text: goes with --image FILE"),
        (["--html", "out.html", "--json"], "--html and --json contradict each other"),
        (["--image", "x.png", "--text", "hello", "--example", "val/0/0"], "--example: names an example"),
        (["--image", "nothing.png", "--text", "hello"], "nothing.png: no such image"),
        (["--image", __file__, "--text", "hello"], "test_inspect.py: "),
        (["--example", "val/0/99"], "no example 'val/0/99' in the data of adaptive, seed 0; did you mean 'val/"),
        (["--example", "zzz"], "no example 'zzz' in the data of adaptive, seed 0; they are called like val/"),
        (["--device", "tpu", "--example", "test/0/0"], "--device: 'tpu'"),
    ],
)
def test_wrong_input_is_told_in_one_line(told: Told, arguments: list[str], expected: str) -> None:
    code, _, err = told("study:adaptive:0", *arguments)
    assert code == 2
    assert expected in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("study:adaptive:1", "this run is not finished"),
        ("study:adptive", "did you mean 'adaptive'?"),
        ("/usr", "is no run's folder"),
    ],
)
def test_wrong_runs_are_told_in_one_line(told: Told, target: str, expected: str) -> None:
    code, _, err = told(target)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1


def test_a_damaged_record_is_told_and_the_model_run_instead(told: Told, store: Path, tmp_path: Path) -> None:
    run = tmp_path / "s0"
    shutil.copytree(directory(store), run)
    (run / "tokens.safetensors").write_bytes(b"half")
    code, out, err = told(run)
    assert code == 0, err
    assert "tokens.safetensors: cannot be read" in " ".join(out.split())


def test_recorded_examples_need_no_torch(store: Path) -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from mtlab.inference.inspection import inspect;"
        "found = inspect('study:adaptive:0', Path(sys.argv[1]));"
        "from mtlab.report.formats.token_terminal import render_tokens;"
        "render_tokens(found.tokens, 0);"
        "print(found.load_image(found.tokens.examples[0].image).shape, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(store)], check=True, capture_output=True, text=True)
    assert shown.stdout == "(128, 128, 3) False\n"


def test_the_api_is_the_same(store: Path) -> None:
    found = inspect("study:adaptive:0", store, example=known(store).examples[3].id)
    assert found.example == 3
    assert found.remarks == ()
