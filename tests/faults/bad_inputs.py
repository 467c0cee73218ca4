"""The bad-input campaign: what a user or a disk may hand to mtlab is accepted, or refused in one line.

Real recipes, command lines, shards, checkpoints, golden bundles and run stores are changed by hypothesis; the command
line is called in this process. Not allowed: a traceback, more than one line on stderr beside the exit code 2, more than
`SECONDS` of computing, the start of a run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from stage import TESTS

sys.path += [str(TESTS), str(TESTS / "data" / "shards"), str(TESTS / "checkpoints")]

from standin import make_plan
from tiny_shards import make_shards
from tiny_study import TINY

from mtlab.cli import main as command_line

SECONDS = 30  #: of computing that one input may take
MEMORY = 12 * 2**30  #: bytes of address space
RECIPES = TESTS.parent

# What is changed, and how

WORDS = [
    "", " ", "~", "null", "true", "no", "0x10", "1_000", "1e400", "-1e400", ".nan", ".inf", "-0", "1e-400", "2**64",
    "9" * 400, "é\u0301", "\u202e", "\ud83d\ude00", "\x00", "\ufeff", "a\nb", "../..", "/etc/passwd", "${x}",
    "${oc.env:HOME}", "${train.lr}", "!!python/object/apply:os.system [id]", "*a", "&a", "<<", "?", "- -", "{", "[",
    "name", "values", "zip",
    "planted", "adaptive", "hub", "timm", "x" * 5000, "top3", "all", "last:", "1,2", "__class__", "__init__",
]  # fmt: skip
NUMBERS = [0, -1, 1, 2, 3, 7, 2**31, 2**63, 2**64, 10**30, 0.5, -0.5, 1e308, 1e-320, float("inf"), float("nan")]

texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List every place in nested data."""
    yield at
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def at(data: Any, place: tuple[Any, ...]) -> Any:
    """Look up a place."""
    for key in place:
        data = data[key]
    return data


@st.composite
def changed(draw: st.DrawFn, source: Any, most: int = 3) -> Any:
    """Change nested data in one to `most` places: a value, a key, a part taken out, doubled, moved, or wrapped."""
    data = json.loads(json.dumps(source))
    for _ in range(draw(st.integers(1, most))):
        every = list(places(data))[1:]
        if not every:
            return draw(values)
        place = draw(st.sampled_from(every))
        inside, key = at(data, place[:-1]), place[-1]
        how = draw(st.sampled_from(["value", "value", "value", "key", "gone", "moved", "wrapped", "deep"]))
        if how == "value":
            inside[key] = draw(values)
        elif how == "key" and isinstance(inside, dict):
            inside[draw(texts)] = inside.pop(key)
        elif how == "gone":
            del inside[key]
        elif how == "moved":
            inside[key] = json.loads(json.dumps(at(data, draw(st.sampled_from(every)))))
        elif how == "wrapped":
            inside[key] = draw(st.sampled_from([[inside[key]], {"name": inside[key]}, {"values": inside[key]}]))
        else:
            for _ in range(draw(st.sampled_from([3, 60]))):
                inside[key] = [inside[key]] if draw(st.booleans()) else {"a": inside[key]}
    return data


LAUGHS = b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1) if name > 97 else b"1"] * 9))
    for name in range(97, 103)
)
PIECES = [
    b"&a ", b"*a", b"<<: *a\n", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"---\n", b"...\n", b"%YAML 9.9\n", b": ",
    b"#", b"'", b'"', b"|", b">", b"[" * 200, b"{" * 200, b"- " * 200, b"a: &x [*x]\n", b"!!binary x", b"? ",
    b"{a: 1, a: 2}",
    b"!!python/object/apply:os.system [id]", b"\n  ", "é".encode(), b"9" * 5000, LAUGHS,
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, source: bytes, pieces: st.SearchStrategy[bytes], most: int = 3) -> bytes:
    """Change the bytes of a file in one to `most` places: cut out, doubled, put in, flipped."""
    data = source
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, max(0, len(data) - 1)) | st.integers(0, min(len(data), 400)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 40, 10**9])))
        how = draw(st.sampled_from(["out", "in", "twice", "bit"]))
        if how == "out":
            data = data[:start] + data[end:]
        elif how == "in":
            data = data[:start] + draw(pieces) + data[start:]
        elif how == "twice":
            data = data[:end] + data[start:end][: 10**6] + data[end:]
        elif start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
    return data


bytes_pieces = st.sampled_from(
    [b"\x00" * 8, b"\xff" * 8, b"ustar\x00", b"PK\x03\x04", b"{", b'"', b"../../x"]
) | st.binary(max_size=9)


# Calling mtlab


@dataclass
class Judge:
    """Calls the command line, and remembers what it should not have done."""

    folder: Path
    inputs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  #: what is wrong → the first input that showed it

    def add(self, other: Judge) -> None:
        """Take in what another has seen."""
        self.inputs += other.inputs
        self.codes += other.codes
        self.problems = {**other.problems, **self.problems}

    def call(self, *words: object, shown: object = None) -> None:
        """Call `mtlab WORDS`; `shown` is what to show of the input if it goes wrong."""
        self.inputs += 1
        out, err = io.StringIO(), io.StringIO()
        words = tuple(str(word) for word in words)
        try:
            with limited(), redirect_stdout(out), redirect_stderr(err), arguments(words):
                code = command_line()
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mtlab" in frame.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            self._problem(f"{type(error).__name__} at {where}", words, (str(error)[:300], shown))
            return
        self.codes[code] += 1
        lines = err.getvalue().strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if code == 2 and (len(errors) != 1 or lines[-1] != errors[0]):  # before it, progress may be told
            self._problem(f"exit 2 with {len(lines)} lines: {lines[-2:]}", words, shown)
        elif code not in (0, 1, 2):
            self._problem(f"exit {code}: {lines[-1:]}", words, shown)
        elif "Traceback" in err.getvalue():
            self._problem(f"exit {code} with a traceback: {lines[-1:]}", words, shown)

    def check(self, what: str, *, fine: bool, shown: object) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self._problem(what, (), shown)

    def _problem(self, what: str, words: tuple[str, ...], shown: object) -> None:
        self.problems.setdefault(what, f"{' '.join(words)[:300]} | {str(shown)[:1500]}")


class HangError(Exception):
    """It took too long."""


@contextmanager
def limited() -> Iterator[None]:
    """Limit computing time inside."""

    def late(*_: object) -> None:
        raise HangError(f"more than {SECONDS} s of computing")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def arguments(words: tuple[str, ...]) -> Iterator[None]:
    """Set the command line's words."""
    before = sys.argv
    sys.argv = ["mtlab", *words]
    try:
        yield
    finally:
        sys.argv = before


# The kinds of input

Input = Callable[[Any], None]
Kind = Callable[[Judge], tuple[st.SearchStrategy[Any], Input]]

STUDY = yaml.safe_load(TINY) | {"axes": {"manager": ["bridge", "adaptive"]}, "baseline": {"manager": "bridge"}}
TRIED = ("planted", "quickstart", "depth")


def _fresh(judge: Judge) -> Path:
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
        judge.call("plan", path, "--store", _fresh(judge), shown=path.read_bytes())

    return st.sampled_from(sources).flatmap(changed), give


def yaml_texts(judge: Judge) -> tuple[st.SearchStrategy[Any], Input]:
    """YAML as text: anchors, tags, documents, encodings, depth, cut in the middle: `mtlab plan`."""
    sources = [yaml.safe_dump(STUDY).encode()]
    sources += [(RECIPES / f"experiments/{name}.yaml").read_bytes() for name in TRIED]

    def give(data: bytes) -> None:
        path = judge.folder / "study.yaml"
        path.write_bytes(data)
        judge.call("plan", path, "--store", _fresh(judge), shown=data)

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
        judge.call("plan", path, "--store", _fresh(judge), *sound, shown=sound)

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
        judge.call("sweep", "plan", path, "--store", _fresh(judge), shown=path.read_bytes())

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
    """Published checkpoints, safetensors and `.ckpt`: `mtlab import`."""
    import torch
    from safetensors.torch import load_file

    weights = TESTS / "golden" / "bt" / "state_dict.safetensors"
    ckpt = judge.folder / "whole.ckpt"
    torch.save({"epoch": 3, "state_dict": load_file(weights), "hyper_parameters": {"config": {"a": 1}}}, ckpt)
    sources = [(".safetensors", weights.read_bytes()), (".ckpt", ckpt.read_bytes())]
    kinds = st.sampled_from(sources).flatmap(
        lambda source: st.tuples(st.just(source[0]), broken(source[1], bytes_pieces))
    )

    def give(given_file: tuple[str, bytes]) -> None:
        path, out = judge.folder / f"given{given_file[0]}", judge.folder / "imported"
        path.write_bytes(given_file[1])
        shutil.rmtree(out, ignore_errors=True)
        judge.call("import", path, "--out", out, shown=given_file[1][:600])

    return kinds, give


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
    whole, place = judge.folder / "whole", judge.folder / "damaged"
    _finished_store(whole)
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


def _finished_store(root: Path) -> None:
    """Make a store with a planned study and finished runs, as the command line would."""
    path = root.parent / "demo.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"name": "demo", "seeds": 2}))
    with redirect_stdout(io.StringIO()), arguments(("plan", str(path), "--store", str(root))):
        assert command_line() == 0
    from mtlab.studies import sums
    from mtlab.studies.store import Store

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
        sums.write(folder, json.dumps(result))
        (folder / "result.json").write_text(json.dumps(result))


KINDS: dict[str, Kind] = {
    "recipes": recipes,
    "YAML as text": yaml_texts,
    "overrides": overrides,
    "sweeps": sweeps,
    "shards": shards,
    "checkpoints": checkpoints,
    "golden bundles": bundles,
    "run stores": stores,
}
ROUND = 250  #: inputs of a kind in one folder
SHARE = {"golden bundles": 0.4}  #: of the inputs that the others have: each takes a model


def judged(name: str, inputs: int, seed: int) -> Judge:
    """Give `inputs` inputs of a kind to mtlab; return what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="mtlab-inputs-"))
    os.environ |= {"MTLAB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
    try:
        judge = Judge(folder)
        strategy, give = KINDS[name](judge)

        @settings(
            max_examples=max(1, round(inputs * SHARE.get(name, 1.0))),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def campaign(given_input: Any) -> None:
            give(given_input)

        import hypothesis

        hypothesis.seed(seed)(campaign)()
        return judge
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        shutil.rmtree(folder, ignore_errors=True)


HEAD = "| input | how it is given | inputs | accepted | refused | problems |\n|---|---|---|---|---|---|"


def row(name: str, judge: Judge) -> str:
    """As a line of a Markdown table."""
    how = " ".join((KINDS[name].__doc__ or "").rstrip(".").split())
    accepted = judge.codes[0] + judge.codes[1]
    return f"| {name} | {how} | {judge.inputs:,} | {accepted:,} | {judge.codes[2]:,} | {len(judge.problems)} |"


def main() -> int:
    """Run the campaign as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1500, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="one kind")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    table, problems, inputs = [HEAD], 0, 0
    for name in KINDS:
        if asked.only in name:
            judge = Judge(Path())
            for number, start in enumerate(range(0, asked.inputs, ROUND)):
                judge.add(judged(name, min(ROUND, asked.inputs - start), asked.seed * 10_000 + number))
                print(f"{name}: {judge.inputs} inputs, {len(judge.problems)} problems", file=sys.stderr, flush=True)
            table.append(row(name, judge))
            problems, inputs = problems + len(judge.problems), inputs + judge.inputs
            print(table[-1], flush=True)
            for what, shown in judge.problems.items():
                print(f"    {what}\n        {shown}", flush=True)
    print("\n".join(["", *table, "", f"{inputs:,} inputs, {problems} problems"]))
    if asked.out is not None:
        asked.out.write_text("\n".join(table) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
