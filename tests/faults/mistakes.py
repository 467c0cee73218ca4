"""A table of mistakes and what mtlab says to each: `python tests/faults/mistakes.py` writes docs/mistakes.md."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import language_model_mistakes as reading
import yaml
from fabric import Fabric
from tiny_study import TINY

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.runs.store import Store

DOCS = Path(__file__).parents[2] / "docs" / "mistakes.md"
VARIANTS = "axes: {manager: [bridge, static, adaptive]}\nbaseline: {manager: bridge}\n"
STUDY = VARIANTS + "seeds: 2\n"
SWEEP = """
over: {manager: [bridge, static]}
baseline: {manager: bridge}
space:
  train.lr: {float: [5e-4, 1e-2], log: true}
  manager.temperature: {float: [0.2, 2.0], log: true, unless: {manager.name: bridge}}
start_from: default
sampler: {name: random}
pruner: {name: median, n_startup_trials: 2}
budget: {trials: 5}
finally: {seeds: 2}
"""

#: (mistake, text of the study file below `base` and `name`)
IN_STUDIES = (
    ("a misspelt key", "axis: {manager: [bridge]}\n"),
    ("an axis with one value, not a list", "axes: {manager: bridge}\n"),
    ("an axis without values", "axes: {manager: []}\n"),
    ("axes as a list", "axes: [bridge, static]\n"),
    ("an unknown manager", "axes: {manager: [bridge, statik]}\n"),
    ("an axis over an unknown setting", "axes: {model.crosslayers: [1, 2]}\n"),
    ("a value twice on one axis", "axes: {manager: [bridge, bridge]}\n"),
    ("a label twice on one axis", "axes: {manager: [{name: bridge, label: x}, {name: static, label: x}]}\n"),
    ("an option of another manager", "axes: {manager: [{name: bridge, temperature: 1}, static]}\n"),
    ("a word for a number", "axes: {train.lr: [fast, slow]}\n"),
    ("a negative learning rate", "axes: {train.lr: [-1, 1e-3]}\n"),
    ("half a step", "set: {train.length: {steps: 10.5}}\n" + STUDY),
    ("no steps", "set: {train.length: {steps: 0}}\n" + STUDY),
    ("steps and epochs", "set: {train.length: {steps: 5, epochs: 1}}\n" + STUDY),
    ("an empty batch", "set: {train.batch: 0}\n" + STUDY),
    ("a batch larger than the data", "set: {train.batch: 4096}\n" + STUDY),
    ("evaluation every 0 steps", "set: {train.eval_every: 0}\n" + STUDY),
    ("an unknown optimizer", "set: {train.optimizer: sgdd}\n" + STUDY),
    ("an unknown option of training", "set: {train.schedule: cosinus}\n" + STUDY),
    ("heads that do not divide the width", "set: {model.width: 16, model.heads: 3}\n" + STUDY),
    ("no width", "set: {model.width: 0}\n" + STUDY),
    ("a dropout of 2", "set: {model.dropout: 2}\n" + STUDY),
    ("an unknown tower", "set: {vision: resnet5000}\n" + STUDY),
    ("a text tower as vision", "set: {vision: tiny_text}\n" + STUDY),
    ("a level that the tower has not", "set: {text.layers: [1, 9]}\n" + STUDY),
    ("more levels than the tower has", "set: {text.layers: top99}\n" + STUDY),
    ("a word for levels", "set: {text.layers: upper}\n" + STUDY),
    ("a level twice", "set: {text.layers: [2, 2]}\n" + STUDY),
    ("no levels", "set: {text.layers: []}\n" + STUDY),
    ("an unknown data set", "set: {data: shapez}\n" + STUDY),
    ("an unknown family", "set: {data.families: [colors]}\n" + STUDY),
    ("an unknown difficulty", "set: {data.difficulty: brutal}\n" + STUDY),
    ("no training data", "set: {data.train: 0}\n" + STUDY),
    ("a negative number of examples", "set: {data.val: -5}\n" + STUDY),
    ("an option out of its range", "set: {data.clutter: 7}\n" + STUDY),
    ("an unknown task", "set: {task: vga}\n" + STUDY),
    ("a task that the data are not made for", "set: {task: retrieval}\n" + STUDY),
    ("no seeds", VARIANTS + "seeds: 0\n"),
    (
        "a negative number of seeds",
        VARIANTS + "seeds: -1\n",
    ),
    ("a word for seeds", VARIANTS + "seeds: many\n"),
    ("a seed twice", VARIANTS + "seeds: [1, 1]\n"),
    (
        "seeds until something else",
        VARIANTS + "seeds: {until: certain}\n",
    ),
    (
        "a negative margin",
        VARIANTS + "seeds: {until: decided, margin: -1}\n",
    ),
    (
        "more seeds at least than at most",
        VARIANTS + "seeds: {until: decided, margin: 1, min: 9, max: 3}\n",
    ),
    (
        "looks from one seed on",
        VARIANTS + "seeds: {until: decided, margin: 1, min: 1, max: 3}\n",
    ),
    ("a baseline that is no value", "axes: {manager: [bridge, static]}\nbaseline: {manager: last}\n"),
    (
        "a baseline on another axis",
        "axes: {manager: [bridge, static], model.cross_layers: [1, 2]}\nbaseline: {train.lr: 1}\n",
    ),
    ("a baseline without its axis", "axes: {manager: [bridge, static]}\nbaseline: bridge\n"),
    ("everything excluded", "exclude: [{manager: [bridge, static, adaptive]}]\n" + STUDY),
    ("a metric that no task has", "metrics: {verdict: test/bleu}\n" + STUDY),
    ("checkpoints chosen on test data", "metrics: {choose: test/accuracy}\n" + STUDY),
    ("an unknown mode", "metrics: {mode: biggest}\n" + STUDY),
    (
        "a split of a batch that is one for the manager",
        "set: {train: {micro_batch: 4}}\naxes: {manager: [{name: scalar_mix, layer_norm: true}]}\n",
    ),
    ("a mode against a metric", "metrics: {choose: val/loss, mode: max}\n" + STUDY),
    ("a mapping where a list belongs", "metrics: {report: {cost: true}}\n" + STUDY),
    ("a target above 100 points", "report: {reach: 180}\n" + STUDY),
    ("a target below 0", "report: {reach: -3}\n" + STUDY),
    ("a word for the target", "report: {reach: high}\n" + STUDY),
    ("an alpha of 5", "report: {alpha: 5}\n" + STUDY),
    ("a misspelt correction", "report: {correct: bonferoni}\n" + STUDY),
    ("an option of `mtlab run` in the file", "workers: 3\n" + STUDY),
    ("a word for hours", "resources: {hours: soon}\n" + STUDY),
    ("no processes", "resources: {processes: 0}\n" + STUDY),
    ("processes that cannot share a batch", "resources: {processes: 3}\n" + STUDY),
    ("an unknown launcher", "launcher: kubernetes\n" + STUDY),
    ("a launcher that is a list", "launcher: {name: [slurm]}\n" + STUDY),
    ("a plug-in that is not there", "plugins: [my_plugin.py]\n" + STUDY),
    ("a parent study that is not there", "init_from: {study: nowhere}\n" + STUDY),
    ("a checkpoint that is not there", "init_from: weights.safetensors\n" + STUDY),
    ("an unknown tracker", "tracking: {tensorbord: {}}\n" + STUDY),
    ("an unknown mode of tracking", "tracking: {wandb: {mode: maybe}}\n" + STUDY),
    ("a setting beside `set`", "record: {layer: true}\n" + STUDY),
    ("a word for a section", "set: {record: yes}\n" + STUDY),
    ("a colon in unquoted text", "why: Does it work: yes\n" + STUDY),
    ("a tab as indentation", "axes:\n\tmanager: [bridge]\n"),
    ("a wrong bracket", "axes: {manager: [bridge, static}\n"),
    ("a key twice", VARIANTS + "seeds: 2\nseeds: 3\n"),
    ("yes for a number", "set: {train.batch: yes}\n" + STUDY),
    ("null for a number", "set: {train.lr: null}\n" + STUDY),
    ("`set` as a list", "set: [train.lr]\n" + STUDY),
    ("a setting twice, dotted and nested", "set: {train.lr: 1e-3, train: {lr: 1e-2}}\n" + STUDY),
    ("an unknown kind", "kind: experiment\n" + STUDY),
    ("a sweep given to `mtlab plan`", "kind: sweep\nover: {manager: [bridge]}\n"),
    ("a slash in the name", "name: a/b\n" + STUDY),
    ("an empty name", 'name: ""\n' + STUDY),
    ("a base that is not there", "base: nothing_there\n" + STUDY),
    ("a base that is the file itself", "base: wrong\n" + STUDY),
    ("an alias without its anchor", "set: *there\n" + STUDY),
    ("a zip among the axes as a list", "axes:\n  - zip: {manager: [bridge, static], train.lr: [1e-3]}\n"),
    ("text that is no YAML mapping", "just a sentence\n"),
    ("an empty file", ""),
    ("two documents in one file", STUDY + "---\n" + STUDY),
    ("a key of the study under `set`", "set: {seeds: 3}\n" + STUDY),
    ("less than one point as a target", "report: {reach: 0.8}\n" + STUDY),
    ("a floor above 100 points", "report: {floor: 130}\n" + STUDY),
    ("a floor of a loss", "metrics: {verdict: test/loss}\nreport: {floor: 2.5}\n" + STUDY),
)

#: (mistake, what is replaced in the sweep, by what)
IN_SWEEPS = (
    ("bounds the wrong way round", "[5e-4, 1e-2]", "[1e-2, 5e-4]"),
    ("a misspelt distribution", "float: [5e-4", "flot: [5e-4"),
    ("a search over an unknown setting", "train.lr:", "train.lrr:"),
    ("log and step together", "1e-2], log: true", "1e-2], log: true, step: 2"),
    ("a logarithm from 0 on", "[5e-4,", "[0,"),
    ("a misspelt key of a sweep", "over:", "ovr:"),
    ("an unknown sampler", "random", "grid"),
    ("a misspelt option of the pruner", "n_startup", "m_startup"),
    ("a word for trials", "trials: 5", "trials: none"),
    ("no seeds for the winners", "{seeds: 2}", "{seeds: 0}"),
    ("an unknown choice of winners", "{seeds: 2}", "{retrain: all}"),
    ("a start point out of bounds", "start_from: default", "start_from: {train.lr: 5}"),
    ("a start point of an unknown setting", "start_from: default", "start_from: {train.bath: 5}"),
    ("a search on test data", "start_from: default", "objective: test/accuracy"),
    ("a limit on an unknown metric", "start_from: default", "constraints: {val/bleu: {max: 1}}"),
    ("no seeds of a trial", "start_from: default", "seeds: 0"),
    ("an unknown storage", "start_from: default", "storage: mysql://x"),
    ("a condition on an unknown setting", "manager.name:", "manager.nam:"),
    ("an option that a variant has not", ", unless: {manager.name: bridge}", ""),
    ("a baseline that is no variant", "baseline: {manager: bridge}", "baseline: {manager: last}"),
    ("axes in a sweep", "start_from: default", "axes: {manager: [bridge]}"),
)

#: (mistake, arguments); `tiny.yaml`, `study.yaml` and `hunt.yaml` lie in the folder, the store has `trial`
ON_THE_COMMAND_LINE = (
    ("a misspelt command", "polt"),
    ("no file", "plan"),
    ("a misspelt recipe", "plan quickstrat"),
    ("a file named without its ending", "run study"),
    ("a misspelt file", "plan stdy.yaml"),
    ("a folder for a file", "plan ."),
    ("a sweep given to `run`", "run hunt.yaml"),
    ("a study given to `sweep`", "sweep study.yaml"),
    ("a setting without a value", "plan study.yaml train.lr"),
    ("a setting with an empty value", "plan study.yaml train.lr="),
    ("a value without a setting", "plan study.yaml =3"),
    ("a misspelt setting", "plan study.yaml trian.lr=1"),
    ("a key of the study as a setting", "plan study.yaml seeds=3"),
    ("a key of the sweep as a setting", "sweep plan hunt.yaml budget.trials=3"),
    ("no seeds, by the command line", "plan study.yaml study.seeds=0"),
    ("a setting that an axis varies", "plan study.yaml manager=last"),
    ("a negative number of retries", "run study.yaml --retries -1"),
    ("an unknown launcher, by the command line", "run study.yaml --launcher pbs"),
    ("options that contradict each other", "run study.yaml --fail-fast --keep-going"),
    ("no workers", "run study.yaml --workers 0"),
    ("a device that is not there", "run study.yaml train.device=tpu"),
    ("a study that the store has not", "report trail"),
    ("a study that was not planned", "status study.yaml"),
    ("a grouping that is none", "report trial --by kind"),
    ("a format that is none", "report trial --format xml"),
    ("an ending that says no format", "report trial --out x.doc"),
    ("a figure that is none", "figures trial aggregaton"),
    ("a seed that the study has not", "inspect trial:bridge:9"),
    ("a variant that the study has not", "inspect trial:bridg:0"),
    ("a study for a run", "inspect trial"),
    ("a split that is none", "eval trial:bridge:0 --split tset"),
    ("the folders of an archive", "open trial --store trial.zip"),
    ("no file to write to", "export trial:bridge:0 --to hf"),
    ("a format of export that is none", "export trial:bridge:0 --to onnx"),
    ("a bundle that is not there", "verify nowhere"),
    ("a folder that is no store", "status --store ."),
    ("a store that is not there", "clean --store nowhere"),
    ("a port that is none", "dashboard --port 99999"),
    ("a study given to `sweep best`", "sweep best trial"),
    ("a study given to `sweep status`", "sweep status trial"),
    ("a study that is not there, to send", "track sync trail"),
    ("a name that is no file name", "new a/b"),
    ("a file that is there already", "new study"),
    ("a recipe that is not there, to copy", "new mine --from managrs"),
    ("an unknown kind of entry", "list managr"),
    ("a misspelt manager", "list managers adptive"),
    ("a manager to check that is none", "check adptive"),
    ("shards that are not there", "data check nowhere"),
    ("a data set without its folder", "data convert vqav2"),
    ("a run folder that is none", "train ."),
)


@dataclass(frozen=True)
class Answer:
    """What mtlab said to a mistake."""

    mistake: str
    code: object
    message: str

    @property
    def fair(self) -> bool:
        """Is it one line, an error, with exit code 2 or, in Python, of the class for users' mistakes?"""
        return (
            self.code in (2, UserError.__name__)
            and self.message.startswith(("error: ", "mtlab: "))
            and "\n" not in self.message
        )

    def row(self) -> str:
        """As a row of the table; long lists of names are cut."""
        told = re.sub(
            r"(known|in the store|metrics|they are called like|its values|Possible options): .*", r"\1: …", self.message
        )
        return f"| {self.mistake} | {self.code} | `{told.replace('|', '/').replace('`', '’')}` |"


def prepare(folder: Path) -> None:
    """Write the files and the store that mistakes are made on."""
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "reading.yaml").write_text(reading.READING)
    reading.write_models(folder)
    (folder / "study.yaml").write_text(f"base: tiny\nname: study\n{STUDY}")
    head = yaml.safe_load(TINY) | {"kind": "sweep", "name": "hunt"}
    (folder / "hunt.yaml").write_text(yaml.safe_dump(head, sort_keys=False) + SWEEP)
    fabric = Fabric(Store.open(folder / "runs", create=True), examples=30)
    for cell in ("bridge", "adaptive"):
        for seed in (0, 1):
            fabric.finish(cell, seed, 0.6)
    fabric.store.write_plan("trial", fabric.plan(["bridge", "adaptive"], seeds=2))


def answers(folder: Path) -> Iterator[Answer]:
    """Make every mistake in `folder`, which is prepared and the current one."""
    for mistake, text in IN_STUDIES:
        keys = set(re.findall(r"^(\w+):", text, re.MULTILINE))
        head = "".join(f"{key}: {value}\n" for key, value in (("base", "tiny"), ("name", "wrong")) if key not in keys)
        whole = text if mistake in ("an empty file", "text that is no YAML mapping") else head + text
        (folder / "wrong.yaml").write_text(whole)
        yield ask(mistake, "plan wrong.yaml", folder)
    for base, mistakes in (("reading", reading.IN_STUDIES), ("tiny", reading.OF_TWO_TOWERS)):
        for mistake, settings in mistakes:
            yield ask_study(mistake, base, settings, folder)
    for mistake, settings, packages in reading.WITHOUT_PACKAGES:
        with reading.lacking(packages, folder):
            yield ask_study(mistake, "reading", settings, folder)
    for mistake, old, new in IN_SWEEPS:
        (folder / "wrong.yaml").write_text((folder / "hunt.yaml").read_text().replace(old, new))
        yield ask(mistake, "sweep plan wrong.yaml", folder)
    (folder / "wrong.yaml").unlink()
    for mistake, arguments in ON_THE_COMMAND_LINE:
        yield ask(mistake, arguments, folder)
    for mistake, attempt in reading.in_python(folder).items():
        yield attempted(mistake, attempt, folder)


def ask_study(mistake: str, base: str, settings: str, folder: Path) -> Answer:
    """Plan a study with settings beside those of its base."""
    axes = "axes: {manager: [last, residual_static]}\n" if base == "reading" else STUDY
    (folder / "wrong.yaml").write_text(f"base: {base}\nname: wrong\nset: {{{settings}}}\n{axes}")
    return ask(mistake, "plan wrong.yaml", folder)


def attempted(mistake: str, attempt: Callable[[], object], folder: Path) -> Answer:
    """Call a function of the Python API."""
    try:
        attempt()
    except Exception as raised:
        told = f"error: {raised}" if isinstance(raised, UserError) else str(raised)
        return Answer(mistake, type(raised).__name__, told.replace(f"{folder}/", ""))
    return Answer(mistake, 0, "")


def ask(mistake: str, arguments: str, folder: Path) -> Answer:
    """Run a command in this process."""
    error, argv = io.StringIO(), ["mtlab", *arguments.split()]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stderr(error),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            code: object = main()
        except Exception as raised:
            code = f"{type(raised).__name__}: {raised}"
    lines = [line for line in error.getvalue().strip().splitlines() if not line.startswith("importing plug-in")]
    text = "\n".join(lines).replace(f"{Path(__file__).parents[2]}/", "")
    return Answer(mistake, code, text.replace(f"{folder}/", "").replace(str(folder), "."))


def page(found: list[Answer]) -> str:
    """Write the page of docs/."""
    head = f"""# Mistakes, and what mtlab says

Written by `PYTHONPATH=tests/helpers python tests/faults/mistakes.py`: {len(found)} mistakes in study files, in sweeps,
on the command line and, last, in Python, and the line that each gets, with its exit code. None of them starts anything.
Long lists of names are cut off here. `make test-all` compares this page with what is said today. What happens when
files of a store are damaged is in [reliability.md](reliability.md).

| mistake | exit code | message |
|---|---|---|
"""
    return head + "".join(f"{answer.row()}\n" for answer in found)


def collect() -> list[Answer]:
    """Make all mistakes in a folder of their own."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as made, mock.patch.dict(os.environ, {"COLUMNS": "200", "HF_HUB_OFFLINE": "1"}):
        folder = Path(made).resolve()
        os.environ.pop("MTLAB_STORE", None)
        os.chdir(folder)
        try:
            prepare(folder)
            return list(answers(folder))
        finally:
            os.chdir(before)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    told = collect()
    for answer in told:
        if not answer.fair:
            print(f"unfair: {answer}", file=sys.stderr)
    DOCS.write_text(page(told), encoding="utf-8")
    print(f"{len(told)} mistakes, {sum(not answer.fair for answer in told)} without one clear line: written to {DOCS}")
