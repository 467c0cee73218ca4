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
from PIL import Image
from toys import picture

import mtlab
from mtlab.data.image_files import read_image
from mtlab.errors import UserError
from mtlab.inference.encoding import pixels

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
        mtlab.build({**TINY, "manager": "mean"}, "manager=static"),
    ]
    pooled = [model.encode([IMAGE], ["a cat"]).pooled for model in models]
    assert all(torch.equal(each, pooled[0]) for each in pooled)
    assert not torch.equal(mtlab.build(TINY, seed=1).encode([IMAGE], ["a cat"]).pooled, pooled[0])
    numpys = mtlab.build({**TINY, "base": None}, None, seed=np.int64(0))
    assert torch.equal(numpys.encode([IMAGE], ["a cat"]).pooled, pooled[0])
    assert all(not module.training for model in models for module in model.network.modules())


def test_a_model_of_bfloat16_is_run_as_it_was_validated() -> None:
    whole, half = mtlab.build(TINY), mtlab.build(TINY, ["train.precision=bf16"])
    seen = []
    half.network.encoder.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    outputs = [model.encode([IMAGE], ["a cat"], record=True) for model in (whole, half)]
    assert seen == [True]
    assert outputs[1].pooled.dtype == torch.float32
    assert not torch.equal(outputs[0].pooled, outputs[1].pooled)
    torch.testing.assert_close(outputs[0].pooled, outputs[1].pooled, rtol=0.05, atol=0.05)
    levels = [model.encode_towers([IMAGE], ["a cat"])[1].levels[-1] for model in (whole, half)]
    assert torch.equal(*levels), "levels that the cache holds were computed in float32"
    assert outputs[1].recorded is not None
    assert all(each.weights is None or each.weights.dtype == torch.float32 for each in outputs[1].recorded.values())


def test_images_may_be_arrays_pictures_or_paths(tmp_path: Path) -> None:
    from PIL import Image

    model, drawn = mtlab.build(TINY), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(drawn)
    picture.save(tmp_path / "drawn.png")
    given = [drawn, picture, picture.convert("RGBA"), tmp_path / "drawn.png", str(tmp_path / "drawn.png")]
    given.append(np.ascontiguousarray(drawn[..., ::-1])[..., ::-1])  # a view, such as of an array in BGR
    states = model.encode(given, ["a cat"] * 6)
    torch.nn.Linear(states.pooled.shape[1], 2)(states.pooled).sum().backward()  # a probe on what it returns
    torch.testing.assert_close(states.pooled, states.pooled[:1].expand(6, -1))
    with pytest.raises(UserError, match="images: a PIL image of 0 × 3 pixels has nothing to read"):
        model.encode([Image.new("RGB", (0, 3))], ["a cat"])


def test_a_pil_image_is_decoded_as_its_file_is(tmp_path: Path) -> None:
    """Turned by EXIF, transparent, of 16 bits, grey, with a palette."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "turned.jpg": (Image.fromarray(noise[..., :3]), {"exif": turned}),
        "transparent.png": (Image.fromarray(noise, "RGBA"), {}),
        "deep.png": (Image.fromarray(noise[..., 0].astype(np.uint16) << 8), {}),
        "grey.png": (Image.fromarray(noise[..., 0]), {}),
        "palette.gif": (Image.fromarray(noise[..., :3]).quantize(8), {"transparency": 1}),
    }
    for name, (drawn, options) in pictures.items():
        drawn.save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(pixels(opened), read_image(tmp_path / name), err_msg=name)
    assert pixels(Image.open(tmp_path / "turned.jpg")).shape == (9, 6, 3)
    assert pixels(Image.new("RGBA", (1, 1))).tolist() == [[[255, 255, 255]]]
    Image.fromarray(np.resize(noise[..., :3], (64, 64, 3))).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"cut\.png: cannot be decoded"):
        pixels(Image.open(tmp_path / "cut.png"))


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
        (lambda m: m.encode([], []), "at least one image and its text"),
        (lambda m: m.encode([IMAGE], None), "texts: expected a list of strings"),
        (lambda m: m.encode([IMAGE], np.array(["a", "b"])), "as many images as texts, in two lists: 1 and 2"),
        (lambda m: m.encode([IMAGE[:0]], ["a"]), "found uint8 [0, "),
        (lambda m: m.encode([IMAGE], "a"), "texts: expected a list of strings"),
        (lambda m: m.encode("cat.png", ["a"]), "images: expected a list of images, such as ['cat.png']"),
        (lambda m: m.encode(Image.fromarray(IMAGE), ["a"]), "images: expected a list of images, found Image"),
        (lambda m: m.answer((each for each in [IMAGE]), ["a"]), "images: expected a list of images, found generator"),
        (lambda m: m.encode([IMAGE], (each for each in "a")), "texts: expected a list of strings"),
        (lambda m: m.encode([IMAGE / 255], ["a"]), "images: expected uint8 [H, W, 3], a PIL image or a path"),
        (lambda m: m.encode(["nothing.png"], ["a"]), "nothing.png"),
        (lambda _: mtlab.build({"manger": "static"}), "manger: unknown key; did you mean 'manager'?"),
        (lambda _: mtlab.build({"manager": "statik"}), "unknown manager 'statik'; did you mean 'static'?"),
        (lambda _: mtlab.build({"model.width": 7}), "do not divide the width 7"),
        (lambda _: mtlab.build("quickstrat"), "no recipe of that name; did you mean 'quickstart'?"),
        (lambda _: mtlab.build(TINY, ["study.seeds=3"]), "is a key of a study"),
        (lambda _: mtlab.build(TINY, device="tpu"), "'tpu'"),
        (lambda _: mtlab.build({**TINY, "base": 3}), "base: expected files or names of recipes, found 3"),
        (lambda _: mtlab.build({**TINY, 1: 2}), "config: expected the name of a setting, found 1"),
        (lambda _: mtlab.build(None), "config: expected settings, or the name or file of a study, found None"),
        (lambda _: mtlab.build(TINY, seed="a"), "seed: expected a whole number from 0 to"),
        (lambda _: mtlab.build(TINY, seed=-1), "found -1"),
        (lambda _: mtlab.build(TINY, device=None), "None is no device"),
        (lambda _: mtlab.load(3), "run: expected a path or a name, found 3"),
        (lambda _: mtlab.load("a", store=3), "store: expected a path or a name, found 3"),
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


def test_matching_is_named_only_where_it_is_possible() -> None:
    for objectives, instead in ((["mlm"], "`encode` gives its states"), (["mlm", "itm"], "`match` scores")):
        model = mtlab.build(
            TINY | CHOSEN | {"task": {"name": "pretraining", "objectives": objectives}, "data": "toy_captions"}
        )
        with pytest.raises(UserError, match=f"answers no questions; {instead}"):
            model.answer([picture(0)], ["a red plain picture"])


def test_texts_and_images_are_matched() -> None:
    model = mtlab.build(TINY | CHOSEN | {"task": {"name": "retrieval", "contrastive_width": 8}, "data": "toy_captions"})
    found = model.match([picture(0), picture(1)], ["a red plain picture", "something else"])
    assert len(found) == 2
    assert all(0 < probable < 1 for probable in found)
    with pytest.raises(UserError, match="answers no questions; `match` scores"):
        model.answer([picture(0)], ["a red plain picture"])
