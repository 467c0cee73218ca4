"""A finished run judged again: on its own data, or on other data whose answers have the same names.

The run's directory is only read. Shapes: n examples of a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mtlab.config.check import check_config, to_plain
from mtlab.config.nodes import lookup_entry as entry_of
from mtlab.config.nodes import lookup_options
from mtlab.config.registry import Registry
from mtlab.config.schema import TrainConfig
from mtlab.data.base import DATASETS, Example, Split
from mtlab.data.batches import Loader
from mtlab.errors import UserError
from mtlab.inference.loading import answer_names, build_model, check_unchanged, restore
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.runs.find_run import FinishedRun
from mtlab.tasks.base import TASKS
from mtlab.tasks.evaluation import Evaluation
from mtlab.training.environment import device as find_device
from mtlab.training.environment import device_name
from mtlab.training.evaluate import evaluate, evaluation_batch
from mtlab.training.sources import cached_towers, gather, running

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int, int], None]  #: examples done, examples in all


@dataclass(frozen=True)
class EvaluationRequest:
    """What is to be judged on what."""

    task: Mapping[str, Any]  #: resolved node
    data: Mapping[str, Any]  #: resolved node
    split: Split
    own_data: bool  #: is it what the run was trained on?


@dataclass(frozen=True)
class EvaluatedRun:
    """What came of it."""

    run: FinishedRun
    wanted: EvaluationRequest
    step: int | None  #: of the checkpoint
    device: str
    answers: tuple[str, ...]  #: the model's
    theirs: tuple[str, ...]  #: the data set's
    examples: Sequence[Example]  #: as the data set gives them, [n]
    evaluation: Evaluation
    hidden: bool  #: are the right answers not public?

    @property
    def unknown(self) -> Counter[str]:
        """Answers of the data set that the model cannot give → questions whose right answer they are."""
        if self.hidden or self.evaluation.targets is None:
            return Counter()
        known = set(self.answers)
        asked = Counter(self.theirs[each.target] if each.target >= 0 else "?" for each in self.examples)
        return Counter({answer: count for answer, count in asked.items() if answer not in known})

    @property
    def metrics(self) -> dict[str, float]:
        """`SPLIT/METRIC` and `SPLIT/METRIC/FAMILY`; the loss is a mean over questions that the model can answer."""
        return {} if self.hidden else self.evaluation.metrics(self.wanted.split)

    def table(self) -> pl.DataFrame:
        """One row per example: its text and image, right answer and prediction by name, its score; or as the task says.

        Where right answers are not public, there are neither these nor scores.
        """
        import polars as pl

        listing, given = self.evaluation.listing, self.evaluation.predictions
        if listing is not None:
            return pl.DataFrame({"split": [self.wanted.split] * len(listing["id"]), **listing})
        columns: dict[str, Any] = {
            "split": [self.wanted.split] * len(self.examples),
            "id": [each.id for each in self.examples],
            "family": [each.family for each in self.examples],
            "image": [each.image for each in self.examples],
            "text": [each.text for each in self.examples],
        }
        if given is None:
            return pl.DataFrame(columns | {"score": self.evaluation.outcomes, **self.evaluation.scores})
        predicted = [self.answers[row] for row in given.tolist()]
        if self.hidden:
            return pl.DataFrame(columns | {"prediction": predicted})
        known = set(self.answers)
        right = [self.theirs[each.target] if each.target >= 0 else None for each in self.examples]
        columns |= {"target": pl.Series(right, dtype=pl.String), "prediction": predicted}
        columns |= {"answerable": [answer in known for answer in right], "score": self.evaluation.outcomes}
        return pl.DataFrame(columns)

    def answer_file(self) -> list[dict[str, Any]]:
        """Write the answers as VQAv2's evaluation server takes them: the question's own id is what its last "/" leaves.

        Raises:
            UserError: the task gives no answers, or two questions have one id.

        """
        given = self.evaluation.predictions
        if given is None:
            raise UserError(f"{self.wanted.task['name']!r} ranks and guesses: it answers no questions", key="--answers")
        ids = [each.id.rpartition("/")[2] for each in self.examples]
        if twice := [each for each, count in Counter(ids).items() if count > 1]:
            raise UserError(f"{len(twice)} question ids occur twice, such as {twice[0]!r}", key="--answers")
        return [
            {"question_id": int(own) if own.isdecimal() else own, "answer": self.answers[row]}
            for own, row in zip(ids, given.tolist(), strict=True)
        ]

    def summary(self) -> dict[str, Any]:
        """Plain data: what was judged, on what, and how it came out."""
        return {
            "format": 1,
            "run": self.run.id,
            "label": self.run.config["label"],
            "checkpoint": {"file": str(self.run.checkpoint), "step": self.step},
            "task": dict(self.wanted.task),
            "data": dict(self.wanted.data),
            "own_data": self.wanted.own_data,
            "split": self.wanted.split,
            "examples": len(self.examples),
            "unanswerable": {"examples": self.unknown.total(), "answers": dict(self.unknown.most_common())},
            "device": self.device,
            "metrics": self.metrics,
        }


def parse_request(run: FinishedRun, task: str | None, data: str | None, split: Split) -> EvaluationRequest:
    """Understand what a command line asks for; the run's plug-ins must be there already.

    Args:
        run: the run.
        task: `NAME,OPTION=VALUE,…`, or options alone of the run's own; None: the run's own.
        data: likewise.
        split: which.

    Raises:
        UserError: unknown names or options, wrong values.

    """
    config = run.config["config"]
    chosen = _node(DATASETS, config["data"], data, "data")
    return EvaluationRequest(
        _node(TASKS, config["task"], task, "task"), chosen, split, own_data=chosen == config["data"]
    )


def evaluate_run(
    run: FinishedRun, asked: EvaluationRequest, *, device: str = "auto", progress: Progress = lambda *_: None
) -> EvaluatedRun:
    """Judge a finished run. Features of its own data come from the expert cache, as they did in training.

    Args:
        run: the run; its plug-ins must be there already.
        asked: what it is judged on.
        device: as `train.device`.
        progress: is told how far it is.

    Raises:
        UserError: data or weights cannot be had or have changed, the head does not fit the task, no answer is shared.

    """
    check_unchanged(run)
    config = {**run.config["config"], "task": asked.task}
    _check_head(config["task"], run.config["config"]["task"])
    train = check_config(TrainConfig, config["train"])
    runtime = Runtime(find_device(device), bf16=train.precision == "bf16")
    answers = answer_names(config)
    entry, options = lookup_options(DATASETS, asked.data, "data")
    dataset = entry.cls(options)
    examples = dataset.examples(asked.split)
    if not examples:
        raise UserError(f"data set {entry.name!r} has no {asked.split} examples", key="split")
    task = entry_of(TASKS, config["task"], "task")
    task.cls.check(task.name, entry.name, entry.cls.offers(options), dataset.answers)
    hidden = asked.split in entry.cls.hidden(options)
    mapped = map_targets(examples, tuple(dataset.answers), answers) if task.cls.answering and not hidden else examples
    cached = cached_towers(config) if asked.own_data else set()
    model = build_model(config, answers, seed=run.config["seed"], device=device, towers=running(config, cached))
    about = restore(model.network, run)
    loader = gather(
        config,
        dataset,
        answers,
        model.network.running_towers,
        cached,
        progress=lambda _: progress,
        device=str(runtime.device),
    ).loader(mapped)
    _check_readable(loader, entry.name)
    size, done = evaluation_batch(train), 0

    def between() -> None:
        nonlocal done
        progress(min(done, len(mapped)), len(mapped))
        done += size

    evaluation = evaluate(ForwardContext(model.network, runtime), loader, size, between)
    return EvaluatedRun(
        run=run,
        wanted=asked,
        step=about.get("step"),
        device=device_name(runtime.device),
        answers=answers,
        theirs=tuple(dataset.answers),
        examples=examples,
        evaluation=evaluation,
        hidden=hidden,
    )


def map_targets(examples: Sequence[Example], theirs: Sequence[str], ours: Sequence[str]) -> list[Example]:
    """Number the right answers of examples as the model does; −1 where it cannot give them.

    Raises:
        UserError: it can give none of them.

    """
    places = {answer: place for place, answer in enumerate(ours)}
    moved = [places.get(answer, -1) for answer in theirs]
    mapped = [
        replace(
            each,
            target=moved[each.target] if each.target >= 0 else -1,
            scores=tuple((moved[answer], score) for answer, score in each.scores if moved[answer] >= 0),
        )
        for each in examples
    ]
    if all(each.target < 0 for each in mapped):
        some = ", ".join(repr(answer) for answer in theirs[:4])
        known = ", ".join(repr(answer) for answer in ours[:4])
        raise UserError(f"the model can give none of these answers ({some} …); it knows {known} …", key="data")
    return mapped


def _node(registry: Registry[Any], own: Mapping[str, Any], text: str | None, key: str) -> dict[str, Any]:
    """Read `NAME,OPTION=VALUE,…` as a node; options without another name change the run's own."""
    from mtlab.config.yaml import scalar

    if text is None:
        return dict(own)
    given: dict[str, Any] = {}
    for position, part in enumerate(_split_options(text)):
        option, equals, value = part.partition("=")
        if not equals and position == 0:
            option, value = "name", part
        elif not equals or not option.strip():
            raise UserError(f"{part!r}: expected OPTION=VALUE, as in --{key} NAME,OPTION=VALUE", key=f"--{key}")
        given[option.strip()] = scalar(value) if value.strip() else None
    name = given.get("name", own["name"])
    base = dict(own) if name == own["name"] else {}
    try:
        entry, options = lookup_options(registry, {**base, **given, "name": name}, key)
    except UserError as error:
        option = (error.key or "").removeprefix(f"{key}.")
        raise UserError(error.problem, key=f"--{key} {option}".strip(), file=error.file) from None
    return {"name": entry.name, **to_plain(options)}


def _split_options(text: str) -> list[str]:
    """Split at commas, but not within brackets: values may be lists."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _check_head(task: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    if task["name"] != trained["name"]:
        raise UserError(
            f"the run was trained for {trained['name']!r}: it has no head for {task['name']!r}", key="--task"
        )


def _check_readable(loader: Loader, data: str) -> None:
    """Refuse data that the run's towers cannot read, by its first example."""
    try:
        loader.batch([0])
    except ValueError as error:  # a world's own towers read nothing else
        raise UserError(f"the run's towers cannot read {data!r}: {error}", key="--data") from None
