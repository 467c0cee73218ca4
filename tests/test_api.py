"""The Python API, and docs/api.md as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import picture

import mtlab
from mtlab.errors import UserError

PAGE = (Path(__file__).parents[1] / "docs/api.md").read_text()
TINY = {
    "text": {"name": "tiny_text", "depth": 2, "width": 16, "heads": 2},
    "vision": {"name": "tiny_vision", "depth": 2, "width": 16, "heads": 2},
    "model": {"width": 16, "heads": 2, "cross_layers": 1, "mlp_ratio": 1},
    "manager": "static",
}
IMAGE = np.zeros((32, 40, 3), np.uint8)


def test_importing_it_waits_for_nothing() -> None:
    script = "import sys, mtlab; print('torch' in sys.modules, 'omegaconf' in sys.modules, 'build' in dir(mtlab))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        mtlab.biuld  # noqa: B018


def test_the_same_settings_and_seed_give_the_same_model_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "kind: preset\nset:\n  text: {name: tiny_text, depth: 2, width: 16, heads: 2}\n"
        "  vision: {name: tiny_vision, depth: 2, width: 16, heads: 2}\n"
        "  model: {width: 16, heads: 2, cross_layers: 1, mlp_ratio: 1}\n"
    )
    models = [
        mtlab.build(TINY),
        mtlab.build(tmp_path / "one.yaml", ["manager=static"]),
        mtlab.build({"base": str(tmp_path / "one.yaml"), "manager.name": "static"}),
        mtlab.build({**TINY, "manager": "mean"}, ["manager=static"]),
    ]
    pooled = [model.encode([IMAGE], ["a cat"]).pooled for model in models]
    assert all(torch.equal(each, pooled[0]) for each in pooled)
    assert not torch.equal(mtlab.build(TINY, seed=1).encode([IMAGE], ["a cat"]).pooled, pooled[0])
    assert all(not module.training for model in models for module in model.network.modules())


def test_images_may_be_arrays_pictures_or_paths(tmp_path: Path) -> None:
    from PIL import Image

    model, drawn = mtlab.build(TINY), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(drawn)
    picture.save(tmp_path / "drawn.png")
    given = [drawn, picture, picture.convert("RGBA"), tmp_path / "drawn.png", str(tmp_path / "drawn.png")]
    states = model.encode(given, ["a cat"] * 5)
    torch.testing.assert_close(states.pooled, states.pooled[:1].expand(5, -1))


def test_texts_of_a_batch_do_not_change_each_other() -> None:
    model = mtlab.build(TINY)
    short, long = "a cat", "is there a small red cat beside the large blue house ?"
    both = model.encode([IMAGE, IMAGE], [short, long])
    assert both.text_mask is not None
    torch.testing.assert_close(model.encode([IMAGE], [short]).pooled, both.pooled[:1])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m: m.encode([IMAGE], ["a", "b"]), "as many images as texts"),
        (lambda m: m.encode([], []), "as many images as texts"),
        (lambda m: m.encode([IMAGE], "a"), "texts: expected a list of strings"),
        (lambda m: m.encode("cat.png", ["a"]), "as many images as texts"),
        (lambda m: m.encode([IMAGE / 255], ["a"]), "images: expected uint8 [H, W, 3], a PIL image or a path"),
        (lambda m: m.encode(["nothing.png"], ["a"]), "nothing.png"),
        (lambda _: mtlab.build({"manger": "static"}), "manger: unknown key; did you mean 'manager'?"),
        (lambda _: mtlab.build({"manager": "statik"}), "unknown manager 'statik'; did you mean 'static'?"),
        (lambda _: mtlab.build({"model.width": 7}), "do not divide the width 7"),
        (lambda _: mtlab.build("quickstrat"), "no recipe of that name; did you mean 'quickstart'?"),
        (lambda _: mtlab.build(TINY, ["study.seeds=3"]), "is a key of a study"),
        (lambda _: mtlab.build(TINY, device="tpu"), "'tpu'"),
        (lambda _: mtlab.load("nothing"), "no store here"),
        (lambda _: mtlab.frame("/nowhere"), "no store here"),
    ],
)
def test_wrong_input_is_told_in_one_line(call: Callable[[Any], object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        call(mtlab.build(TINY))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_device_is_refused_before_towers_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    monkeypatch.setattr("mtlab.inference.loading.build_tower", lambda *arguments, **_: built.append(arguments))
    with pytest.raises(UserError, match="no device"):
        mtlab.build(TINY, device="nowhere")
    assert not built


@pytest.mark.slow
def test_the_page_as_it_stands(tmp_path: Path) -> None:
    """Every block in turn, in one folder; what is printed is what the comments say."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    del environment["MTLAB_STORE"]  # the page's is ./runs

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    program: list[str] = []
    for kind, title, text in re.findall(r'```(\w+)(?: title="(.*?)")?\n(.*?)```', PAGE, re.DOTALL):
        if title:
            (tmp_path / title).write_text(text)
        elif kind == "sh":
            run("sh", "-ec", text)
        elif kind == "python":
            program.append(text)
    script = "\n".join(program)
    expected = [line.partition(")  # ")[2] for line in script.splitlines() if line.startswith("print(")]
    assert run(sys.executable, "-c", script).splitlines() == expected
    outcomes = (tmp_path / "outcomes.csv").read_text().splitlines()
    assert len(outcomes) == 41


CHOSEN = {"metrics": {"choose": "val/primary"}, "train": {"batch": 8}}


def test_pairs_of_images_are_answered_in_tuples() -> None:
    model = mtlab.build(TINY | CHOSEN | {"task": "reasoning", "data": "toy_pairs"})
    left, right, texts = [picture(0), picture(1)], [picture(2), picture(3)], ["both are red", "it is blue"]
    pairs = list(zip(left, right, strict=True))
    assert set(model.answer(pairs, texts)) <= {"False", "True"}
    assert model.answer(pairs[:1], texts[:1]) + model.answer(pairs[1:], texts[1:]) == model.answer(pairs, texts)
    with pytest.raises(UserError, match="on 2 images for each text: give a tuple"):
        model.answer(left, texts)
    with pytest.raises(UserError, match="was not trained to match"):
        model.match(left, texts)


def test_texts_and_images_are_matched() -> None:
    model = mtlab.build(TINY | CHOSEN | {"task": {"name": "retrieval", "contrastive_width": 8}, "data": "toy_captions"})
    found = model.match([picture(0), picture(1)], ["a red plain picture", "something else"])
    assert len(found) == 2
    assert all(0 < probable < 1 for probable in found)
    with pytest.raises(UserError, match="answers no questions; `match` scores"):
        model.answer([picture(0)], ["a red plain picture"])
