"""Kinds of bad input for commands beside `plan`: words on the command line, archives, own questions, trained models."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from input_changes import broken, bytes_pieces, changed, scalars, texts
from input_judge import Judge, quiet
from input_kinds import STUDY, Input, finished_store, fresh
from language_model_mistakes import READING, write_models
from tiny_study import TINY

ARCHIVE = "demo.zip"
#: lines that are right; OUT is a place to write to
LINES = """
status demo --json
report demo --by layer
report demo --format csv
report demo --by rank --json
figures demo --list
figures demo --only curves --format svg --width 760 --font-size 9 --out OUT
bundle demo --checkpoints --out OUT
diff demo:bridge:0 demo:adaptive:1 --json
logs demo:bridge:0 --lines 3
open demo:bridge:0 --json
cancel demo
clean demo --runs --only store
testbed demo --format json
eval demo:bridge:0 --task question_answering --data val=4 --split val --json
intervene demo:bridge:0 --swap 1 --again --json
inspect demo:bridge:0 --example 0 --weights --json
export demo:bridge:0 --to hf --out OUT
list managers adaptive --json
list settings train
schema study
new mine --from quickstart --out OUT
budget STUDY train.batch=4 --tflops 10 --json
plan STUDY train.batch=4 --json
sweep plan SWEEP budget.trials=3 --json
sweep status tried --json
sweep best tried --front --json
sweep best tried --as OUT
sweep report tried --format json --out OUT
check bridge --json
data info shards
data sample shards train -n 3 --seed 1 --out OUT
data make shapes train=4 val=2 test=2 --out OUT
track sync demo --to tensorboard --set tensorboard.folder=x
""".strip().splitlines()
TRIED_SWEEP = {
    "kind": "sweep",
    "name": "tried",
    "over": {"manager": ["bridge"]},
    "space": {"train.lr": {"choice": [1e-3, 1e-2]}},
    "seeds": 1,
    "budget": {"trials": 2},
}
KNOWN = sorted({word for line in LINES for word in line.split()})
SENDS = ("wandb", "mlflow", "trackio")  #: nothing is sent from here


def command_words(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Words and options of 28 commands on a store with trained runs: left out, doubled, exchanged, put in, changed."""
    whole, study, sweep = judge.folder / "whole", judge.folder / "study.yaml", judge.folder / "sweep.yaml"
    study.write_text(yaml.safe_dump(STUDY | {"name": "demo", "seeds": 2}))
    sweep.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **TRIED_SWEEP}))
    quiet("run", study, "--store", whole, "--workers", 1, "--quiet")
    quiet("sweep", "run", sweep, "--store", whole, "--workers", 1, "--quiet")

    @st.composite
    def lines(draw: st.DrawFn) -> list[str]:
        words = draw(st.sampled_from(LINES)).split()
        name = 2 if words[0] in ("sweep", "data", "track") else 1
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(name, len(words)))
            odd = draw(st.one_of(st.sampled_from(KNOWN), texts, scalars.map(str)))
            how = draw(st.sampled_from(["out", "twice", "instead", "in", "longer"]))
            old = words[at] if at < len(words) else ""
            put = {"out": [], "twice": [old, old], "instead": [odd], "in": [odd, old], "longer": [old + odd]}[how]
            words[at : at + 1] = [word for word in put if word]
        return [word for word in words if word in KNOWN or not set(word) & set("/~")]  # no path elsewhere

    def give(line: list[str]) -> None:
        store, out = judge.folder / "store", judge.folder / "out"
        for folder in (store, out):
            shutil.rmtree(folder, ignore_errors=True)
        out.mkdir()
        shutil.copytree(whole, store)
        places = {"OUT": str(out / "made"), "STUDY": str(study), "SWEEP": str(sweep)}
        words = [places.get(word, word).replace("\x00", "0") for word in line if word not in SENDS]
        if words[0] == "track":
            words += ["--to", "tensorboard"]
        if words[0] not in ("list", "schema", "data", "new", "check"):
            words += ["--store", str(store)]
        with judge.at(out):  # what is written, is written there
            judge.call(*words, shown=words)

    return lines(), give


def archives(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """The zip file of a study, its bytes and its members: `mtlab report`, `status`."""
    whole, place = judge.folder / "whole", judge.folder / ARCHIVE
    finished_store(whole)
    quiet("bundle", "demo", "--store", whole, "--out", place)
    data, again = place.read_bytes(), judge.folder / "again.zip"
    with zipfile.ZipFile(place) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}

    def packed(name: str, content: bytes, called: str) -> bytes:
        with zipfile.ZipFile(again, "w") as made:
            for member, old in members.items():
                made.writestr(called if member == name else member, content if member == name else old)
        return again.read_bytes()

    @st.composite
    def files(draw: st.DrawFn) -> bytes:
        if draw(st.booleans()):
            return draw(broken(data, bytes_pieces))
        name = draw(st.sampled_from(sorted(members)))
        called = draw(st.sampled_from([name] * 6 + ["../../x", "/tmp/x", name.upper(), "a/" * 200]))
        return packed(name, draw(broken(members[name], bytes_pieces)), called)

    def give(content: bytes) -> None:
        place.write_bytes(content)
        judge.call(*(("report", place) if len(content) % 2 else ("status", "--store", place)), shown=content[:600])
        judge.check("a member left its folder", fine=not (judge.folder / "x").exists(), shown=content[:600])

    return files(), give


def language_models(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Keys, values, types and structure of studies of language models: `mtlab plan`, `mtlab budget`."""
    write_models(judge.folder)
    source = yaml.safe_load(READING)
    more: tuple[dict[str, Any], ...] = (
        {},
        {"data": {"name": "questions", "folder": "asked"}},
        {
            "data": {"name": "shapes_captions", "train": 8, "val": 4, "test": 4},
            "model": {"name": "mllm", "inject": {"layers": [0, 2]}, "answers": "generate", "answer_tokens": 32},
            "task": "captioning",
        },
        {"model": {"name": "mllm", "answers": "generate", "inject": {"layers": [0, 2]}}},
    )
    sources = [{**source, "set": {**source["set"], **each}} for each in more]

    def give(data: Any) -> None:
        path = judge.folder / "study.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        command = "budget" if len(path.read_bytes()) % 3 == 0 else "plan"
        with judge.at(judge.folder):
            judge.call(command, path, "--store", fresh(judge), shown=path.read_bytes())

    return st.sampled_from(sources).flatmap(lambda source: changed(source, most=2)), give


def whole_studies(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """What a study says beside its settings: launcher, resources, tracking, seeds, report: `mtlab plan`, `budget`."""
    launchers: tuple[dict[str, Any], ...] = (
        {"name": "slurm", "partition": "gpu", "account": "a", "at_once": 4, "setup": ["x"], "extra": {"qos": "long"}},
        {"name": "ray", "address": "head:6379", "at_once": 4, "autoscaling": True},
        {"name": "local"},
    )
    rest = {
        "resources": {"cpus": 2, "gpus": 0, "memory_gb": 4, "hours": 1.5, "processes": 1},
        "tracking": {"tensorboard": {}, "wandb": {"project": "x"}, "mlflow": {"uri": "http://127.0.0.1:5000"}},
        "seeds": {"until": "decided", "margin": 0.5, "min": 3, "max": 5},
        "report": {"equivalence": 0.5, "test": "paired_t", "alpha": 0.05},
        "metrics": {"choose": "val/accuracy", "verdict": "test/accuracy", "report": ["cost/params"]},
    }
    sources = [{**STUDY, **rest, "launcher": each} for each in launchers]

    def give(data: Any) -> None:
        path = judge.folder / "study.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        command = "budget" if len(path.read_bytes()) % 3 == 0 else "plan"
        judge.call(command, path, "--store", fresh(judge), shown=path.read_bytes())

    return st.sampled_from(sources).flatmap(lambda source: changed(source, parts=(*rest, "launcher"))), give


def own_data(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Own questions and captions, lines and images: `mtlab plan`, `mtlab data convert`."""
    from tiny_shards import write_raw

    write_models(judge.folder)
    questions, captions, place = judge.folder / "asked", write_raw(judge.folder / "raw", 4), judge.folder / "given"
    study = STUDY | {"set": {**STUDY["set"], "data": {"name": "questions", "folder": "given"}}}
    (judge.folder / "study.yaml").write_text(yaml.safe_dump(study))

    @st.composite
    def files(draw: st.DrawFn) -> tuple[Path, Path, bytes]:
        whole = draw(st.sampled_from([questions, captions]))
        path = draw(st.sampled_from(sorted(each for each in whole.rglob("*") if each.is_file())))
        if path.suffix != ".jsonl" or draw(st.booleans()):
            return whole, path, draw(broken(path.read_bytes(), bytes_pieces))
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = draw(changed(rows))
        return whole, path, "\n".join(json.dumps(row) for row in (rows if isinstance(rows, list) else [rows])).encode()

    def give(given: tuple[Path, Path, bytes]) -> None:
        whole, path, data = given
        for folder in (place, judge.folder / "out"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, place)
        (place / path.relative_to(whole)).write_bytes(data)
        shown = path.name, data[:800]
        if whole == questions:
            with judge.at(judge.folder):
                judge.call("plan", "study.yaml", "--store", fresh(judge), shown=shown)
        else:
            words = ("--root", place, "--out", judge.folder / "out", "--workers", 1)
            judge.call("data", "convert", "jsonl", "kind=captions", *words, shown=shown)

    return files(), give


def trained_models(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """Tasks, data, sentences and images for a trained model: `mtlab eval`, `inspect`, `intervene`, `export`."""
    from PIL import Image

    study, store, image = judge.folder / "tiny.yaml", judge.folder / "trained", judge.folder / "image.png"
    study.write_text(TINY + "\naxes: {manager: [adaptive]}\nseeds: 2\n")
    quiet("run", study, "--store", store, "--workers", 1, "--quiet")
    Image.new("RGB", (20, 20)).save(image)
    named = st.sampled_from(["shapes", "shapes_captions", "planted", "question_answering", "retrieval", "captioning"])
    options = st.tuples(
        st.sampled_from(["val", "test", "train", "families", "loss", "seed"]), st.just("="), texts | scalars.map(str)
    )
    described = st.lists(named | options.map("".join) | texts, max_size=3).map(",".join)

    @st.composite
    def lines(draw: st.DrawFn) -> tuple[list[str], bytes]:
        picture = draw(broken(image.read_bytes(), bytes_pieces)) if draw(st.booleans()) else image.read_bytes()
        odd = texts | scalars.map(str)
        which = ["tiny:adaptive:0", "tiny", draw(odd)]
        return [
            *draw(
                st.one_of(
                    st.tuples(st.just("eval"), st.just("--task"), described),
                    st.tuples(st.just("eval"), st.just("--data"), described),
                    st.tuples(st.just("inspect"), st.just("--example"), odd),
                    st.tuples(st.just("inspect"), st.just("--image"), st.just("IMAGE"), st.just("--text"), odd),
                    st.tuples(st.just("intervene"), st.just("--swap"), odd),
                    st.tuples(
                        st.just("export"),
                        st.just("--to"),
                        st.sampled_from(["hf", "official"]),
                        st.just("--out"),
                        st.just("OUT"),
                    ),
                )
            ),
            draw(st.sampled_from([which[0]] * 8 + which)),
        ], picture

    def give(given: tuple[list[str], bytes]) -> None:
        line, picture = given
        (judge.folder / "given.png").write_bytes(picture)
        shutil.rmtree(judge.folder / "out", ignore_errors=True)
        places = {"OUT": str(judge.folder / "out"), "IMAGE": str(judge.folder / "given.png")}
        words = [places.get(word, word).replace("\x00", "0") for word in line]
        judge.call(*words, "--store", store, shown=(words, picture[:200]))

    return lines(), give
