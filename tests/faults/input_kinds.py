"""The kinds of bad input: for each, what is changed, and how it is given to mtlab."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from input_changes import PIECES, broken, bytes_pieces, changed, changed_tensors, places, scalars, texts, values
from input_judge import Judge, quiet
from standin import make_plan
from tiny_shards import make_shards
from tiny_study import TINY

from mtlab.runs.results import write_result
from mtlab.runs.store import Store

TESTS = Path(__file__).parents[1]
RECIPES = TESTS.parent
Input = Callable[[Any], None]
Kind = Callable[[Judge], tuple[st.SearchStrategy[Any], Input]]

STUDY = yaml.safe_load(TINY) | {"axes": {"manager": ["bridge", "adaptive"]}, "baseline": {"manager": "bridge"}}
TRIED = ("planted", "quickstart", "depth")  #: recipes; the last one's towers take seconds to read


def fresh(judge: Judge) -> Path:
    """Give a new store; the last one must not hold a run."""
    store = judge.folder / "store"
    judge.check("a run was started", fine=not list(store.glob("cells/*/*")), shown="")
    shutil.rmtree(store, ignore_errors=True)
    return store


def recipes(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Keys, values, types and structure of recipes: `mtlab plan`."""
    sources = [STUDY, *(yaml.safe_load((RECIPES / f"experiments/{name}.yaml").read_text()) for name in TRIED)]

    def give(data: Any) -> None:
        path = judge.folder / "study.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        judge.call("plan", path, "--store", fresh(judge), shown=path.read_bytes())

    return st.sampled_from(sources).flatmap(changed), give


def yaml_texts(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """YAML as text: anchors, tags, documents, encodings, depth, cut in the middle: `mtlab plan`."""
    sources = [yaml.safe_dump(STUDY).encode()]
    sources += [(RECIPES / f"experiments/{name}.yaml").read_bytes() for name in TRIED[:2]]

    def give(data: bytes) -> None:
        path = judge.folder / "study.yaml"
        path.write_bytes(data)
        judge.call("plan", path, "--store", fresh(judge), shown=data)

    pieces = st.sampled_from(PIECES) | st.binary(max_size=6)
    return st.sampled_from(sources).flatmap(lambda source: broken(source, pieces)), give


def overrides(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Overrides on the command line: `mtlab plan FILE KEY=VALUE…`."""
    path = judge.folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    known = [".".join(map(str, place)) for place in places(STUDY["set"]) if place]
    known += [
        "train.lr",
        "manager.name",
        "manager",
        "init_from",
        "study.seeds",
        "study.axes",
        "study.name",
        "data.folder",
    ]
    keys = st.sampled_from(known) | st.tuples(st.sampled_from(known), texts).map(".".join) | texts
    words = texts | scalars.map(str) | values.map(lambda value: json.dumps(value, default=str))
    pairs = st.tuples(keys, st.sampled_from(["=", "=", "=", "=", "", "==", "=="]), words).map("".join)

    def give(given_words: list[str]) -> None:
        sound = [word.replace("\x00", "0") for word in given_words if not word.startswith("-")]  # as an OS passes them
        judge.call("plan", path, "--store", fresh(judge), *sound, shown=sound)

    return st.lists(pairs, min_size=1, max_size=3), give


def sweeps(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Keys, values, types and structure of sweeps: `mtlab sweep plan`."""
    source = {key: value for key, value in STUDY.items() if key not in ("axes", "baseline", "kind")} | {
        "kind": "sweep",
        "over": {"manager": ["bridge", "adaptive"]},
        "space": {"train.lr": {"float": [1e-4, 1e-1], "log": True}, "manager": "default"},
        "sampler": {"name": "tpe", "n_startup_trials": 3},
        "pruner": {"name": "median", "n_startup_trials": 2},
        "budget": {"trials": 4},
        "storage": "journal",
    }

    def give(data: Any) -> None:
        path = judge.folder / "sweep.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        judge.call("sweep", "plan", path, "--store", fresh(judge), shown=path.read_bytes())

    return changed(source), give


def shards(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Index and archives of shards, structure and bytes: `mtlab data info`, `check`."""
    whole = make_shards(judge.folder / "made", 6)
    index = next(path for path in sorted(whole.iterdir()) if path.suffix == ".json")
    tars = sorted(path for path in whole.rglob("*.tar"))
    place = judge.folder / "shards"
    kinds = st.one_of(
        changed(json.loads(index.read_text())).map(lambda data: (index, json.dumps(data).encode())),
        broken(index.read_bytes(), bytes_pieces).map(lambda data: (index, data)),
        *[broken(tar.read_bytes(), bytes_pieces).map(lambda data, tar=tar: (tar, data)) for tar in tars[:2]],
    )

    def give(given_file: tuple[Path, bytes]) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        (place / given_file[0].relative_to(whole)).write_bytes(given_file[1])
        shown = (given_file[0].name, given_file[1][:600])
        judge.call(*(("data", "info", place) if len(given_file[1]) % 2 else ("data", "check", place)), shown=shown)
        judge.check("a member left its folder", fine=not (judge.folder / "x").exists(), shown=shown)

    return kinds, give


def checkpoints(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Published checkpoints, safetensors and `.ckpt`, their bytes and their tensors: `mtlab import`."""
    import torch
    from safetensors.torch import load_file, save

    weights, heads = (
        TESTS / "golden" / "bt" / "state_dict.safetensors",
        ("--heads", 4, "--text-heads", 4, "--vision-heads", 4),
    )
    state = load_file(weights)
    saved: dict[str, Callable[[dict[str, torch.Tensor]], bytes]] = {
        ".safetensors": save,
        ".ckpt": lambda tensors: _saved({"epoch": 3, "state_dict": tensors, "hyper_parameters": {"config": {"a": 1}}}),
    }
    quiet("import", weights, "--out", judge.folder / "whole", *heads)  # else all would be refused for one reason
    kinds = st.sampled_from(list(saved)).flatmap(
        lambda suffix: st.tuples(
            st.just(suffix),
            broken(saved[suffix](state), bytes_pieces) | changed_tensors(state).map(saved[suffix]),
        )
    )

    def give(given_file: tuple[str, bytes]) -> None:
        path, out = judge.folder / f"given{given_file[0]}", judge.folder / "imported"
        path.write_bytes(given_file[1])
        shutil.rmtree(out, ignore_errors=True)
        judge.call("import", path, "--out", out, *heads, shown=given_file[1][:600])

    return kinds, give


def _saved(data: Any) -> bytes:
    import torch

    torch.save(data, stream := io.BytesIO())
    return stream.getvalue()


def bundles(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Golden bundles, configuration and tensors: `mtlab verify`."""
    whole, place = TESTS / "golden" / "hf_bridgetower_add", judge.folder / "bundle"
    config = json.loads((whole / "config.json").read_text())
    kinds = st.one_of(
        changed(config).map(lambda data: ("config.json", json.dumps(data).encode())),
        changed(config).map(lambda data: ("config.json", json.dumps(data).encode())),
        broken((whole / "config.json").read_bytes(), bytes_pieces).map(lambda data: ("config.json", data)),
        *[
            broken((whole / name).read_bytes(), bytes_pieces).map(lambda data, name=name: (name, data))
            for name in ("io.safetensors", "state_dict.safetensors")
        ],
    )

    def give(given_file: tuple[str, bytes]) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for path in whole.iterdir():
            os.symlink(path, place / path.name)
        (place / given_file[0]).unlink()
        (place / given_file[0]).write_bytes(given_file[1])
        judge.call("verify", place, shown=(given_file[0], given_file[1][:1200]))

    return kinds, give


def stores(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Every JSON file of a run store, structure and bytes: `mtlab status`, `report`, `clean`, `inspect`."""
    whole = judge.folder / "whole"
    finished_store(whole)
    return _damaged(judge, whole)


def _damaged(judge: Judge, whole: Path) -> tuple[st.SearchStrategy[Any], Input]:
    """Change a file of a whole store."""
    place = judge.folder / "damaged"
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    commands = (
        ("status",),
        ("status", "demo"),
        ("report", "demo"),
        ("clean", "--only", "store"),
        ("inspect", "demo:aaa:0"),
    )

    @st.composite
    def kinds(draw: st.DrawFn) -> tuple[Path, bytes, tuple[str, ...]]:
        path = draw(st.sampled_from(files))
        text = path.read_bytes()
        if path.suffix == ".json" and draw(st.booleans()):
            data = json.dumps(draw(changed(json.loads(text))), default=str).encode()
        else:
            data = draw(broken(text, bytes_pieces))
        return path, data, draw(st.sampled_from(commands))

    def give(given_file: tuple[Path, bytes, tuple[str, ...]]) -> None:
        path, data, words = given_file
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        (place / path.relative_to(whole)).write_bytes(data)
        judge.call(*words, "--store", place, shown=(str(path.relative_to(whole)), data[:800]))

    return kinds(), give


def finished_store(root: Path) -> None:
    """Make a store with a planned study and finished runs, as the command line would."""
    path = root.parent / "demo.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"name": "demo", "seeds": 2}))
    quiet("plan", path, "--store", root)
    store = Store.open(root)
    for number, run in enumerate(store.plan("demo")["runs"]):
        folder = store.run(run["id"])
        (folder / "checkpoints").mkdir(parents=True)
        config = make_plan({"aaa": {}})[1]["aaa/s0"] | {"cell": run["cell"], "seed": run["seed"], "label": run["label"]}
        config |= {"plugins": [], "plugin_folder": str(root), "code": "x"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "state.json").write_text(
            json.dumps({"attempt": 1, "host": "h", "device": "cpu", "threads": 1, "pid": 1})
        )
        rows = [{"step": step, "seconds": 1.0, "val/accuracy": 0.1 * step} for step in (3, 6)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        metrics = {"val/accuracy": 0.5 + number / 100, "test/accuracy": 0.4 + number / 100, "test/loss": 1.0}
        cost = {"params": {"head": 10}, "flops_forward": 5.0, "seconds": 1.0, "memory_mib": 100.0}
        result = {"format": 1, "steps": 6, "best_step": 6, "stopped_early": False, "metrics": metrics, "cost": cost}
        write_result(folder, result)
