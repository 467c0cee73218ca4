"""`mtlab eval`: evaluate a finished run on its own data, or on other data with answers of the same names.

The run's directory is only read. Shapes: n examples of a split.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.config.check import check_config, to_plain
from mtlab.config.credentials import find_credentials
from mtlab.config.hashing import digest
from mtlab.config.nodes import lookup_entry, lookup_options
from mtlab.config.registry import Registry
from mtlab.config.schema import TrainConfig
from mtlab.config.yaml import scalar
from mtlab.data.base import DATASETS, Example, Split
from mtlab.errors import UserError
from mtlab.inference.loading import build_model, restore
from mtlab.matmul import fast_matmul
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.output_file import output_file
from mtlab.runs.find_run import FinishedRun, check_unchanged
from mtlab.tasks.base import TASKS
from mtlab.tasks.build import dataset_answers
from mtlab.tasks.evaluation import Evaluation, evaluate
from mtlab.training.assemble import evaluation_batch_size
from mtlab.training.environment import choose_device, device_name
from mtlab.training.sources import cached_towers, make_sources, towers_to_run

if TYPE_CHECKING:
    import polars as pl

#: forward passes begun, and None; or of a task that runs each example once examples done, and in all
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class EvaluationRequest:
    """Task, data and split to evaluate a run on."""

    task: Mapping[str, Any]  #: resolved section of the configuration
    data: Mapping[str, Any]  #: likewise
    split: Split
    own_data: bool  #: whether `data` is what the run was trained on


@dataclass(frozen=True)
class EvaluatedRun:
    """A run's evaluation, with what is needed to name its answers."""

    run: FinishedRun
    request: EvaluationRequest
    step: int | None  #: of the checkpoint
    device: str
    answers: tuple[str, ...]  #: the model's
    data_answers: tuple[str, ...]  #: the data set's
    examples: Sequence[Example]  #: [n], targets numbered as in the data set
    evaluation: Evaluation
    hidden: bool  #: whether the right answers are not public

    @property
    def unknown(self) -> Counter[str]:
        """Count the questions of which the model can give no answer that scores, for each right answer."""
        if self.hidden or self.evaluation.targets is None or self.generated is not None:
            return Counter()
        return Counter(self._right(each) or "?" for each in self.examples if not self._answerable(each))

    def _right(self, example: Example) -> str | None:
        return self.data_answers[example.target] if example.target >= 0 else example.answer or None

    def _answerable(self, example: Example) -> bool:
        """Can the model give the right answer, or another that scores?"""
        right = self._right(example)
        if self.generated is not None:
            return right is not None
        scored = [self.data_answers[answer] for answer, score in example.scores if score > 0]
        return not set(self.answers).isdisjoint({right, *scored})

    @property
    def generated(self) -> list[str] | None:
        """The answer that was generated to each question; None where the model chooses."""
        texts = self.evaluation.answer_texts
        return None if texts is None or self.evaluation.predictions is None else [answer for _, answer in texts]

    @property
    def metrics(self) -> dict[str, float]:
        """Return `SPLIT/METRIC` and `SPLIT/METRIC/FAMILY`, and their floors (docs/statistics.md).

        The loss is averaged over questions that it can answer, and left out where there are none.
        """
        split = self.request.split
        found = {} if self.hidden else self.evaluation.metrics(split) | self.evaluation.floors(split)
        return {name: value for name, value in found.items() if not math.isnan(value)}  # a loss of no example

    def table(self) -> pl.DataFrame:
        """Return a row per example: text, image, right answer and prediction by name, score; or the task's own listing.

        Right answers and scores are left out where they are not public.
        """
        import polars as pl

        listing, predictions = self.evaluation.table, self.evaluation.predictions
        if listing is not None:
            return pl.DataFrame({"split": [self.request.split] * len(listing["id"]), **listing})
        columns: dict[str, Any] = {
            "split": [self.request.split] * len(self.examples),
            "id": [each.id for each in self.examples],
            "family": [each.family for each in self.examples],
            "image": [each.image for each in self.examples],
            "text": [each.text for each in self.examples],
        }
        if predictions is None:
            return pl.DataFrame(columns | {"score": self.evaluation.outcomes, **self.evaluation.scores})
        predicted = self.generated or [self.answers[index] for index in predictions.tolist()]
        if self.hidden:
            return pl.DataFrame(columns | {"prediction": predicted})
        right = pl.Series([self._right(each) for each in self.examples], dtype=pl.String)
        columns |= {"target": right, "prediction": predicted}
        columns |= {"answerable": [self._answerable(each) for each in self.examples]}
        columns |= {"score": self.evaluation.outcomes}
        return pl.DataFrame(columns)

    def answer_file(self) -> list[dict[str, Any]]:
        """Return the predictions in the format of VQAv2's evaluation server.

        A question's own id is what follows the last "/" of the example's id.

        Raises:
            UserError: the task has no answers, or two questions share an id.

        """
        predictions = self.evaluation.predictions
        if predictions is None:
            raise UserError(f"the task {self.request.task['name']!r} answers no questions", key="--answers")
        ids = [each.id.rpartition("/")[2] for each in self.examples]
        if repeated := [each for each, count in Counter(ids).items() if count > 1]:
            raise UserError(f"{len(repeated)} question ids occur twice, such as {repeated[0]!r}", key="--answers")
        given = self.generated or [self.answers[index] for index in predictions.tolist()]
        return [
            {"question_id": int(own) if own.isdecimal() else own, "answer": answer}
            for own, answer in zip(ids, given, strict=True)
        ]

    def default_path(self) -> Path:
        """Return the file of the outcomes in the run's store: `derived/<cell>/s<seed>/eval/DATA-SPLIT.parquet`.

        Raises:
            ReadOnlyError: the store is an archive.

        """
        store, name = self.run.store, str(self.request.data["name"])
        assert store is not None
        store.check_writable()
        if not self.request.own_data or self.request.task != self.run.config["config"]["task"]:
            name += f"-{digest([self.request.data, self.request.task], 6)}"
        if self.run.checkpoint.stem != "best":
            name += f"-{self.run.checkpoint.stem}"
        return store.derived(self.run.id) / "eval" / f"{name}-{self.request.split}.parquet"

    def summary(self) -> dict[str, Any]:
        """Return what was evaluated, on what, and its metrics, as plain data (docs/json.md)."""
        return {
            "format": 1,
            "run": self.run.id,
            "label": self.run.config["label"],
            "checkpoint": {"file": str(self.run.checkpoint), "step": self.step},
            "task": dict(self.request.task),
            "data": dict(self.request.data),
            "own_data": self.request.own_data,
            "split": self.request.split,
            "examples": len(self.examples),
            "unanswerable": {"examples": self.unknown.total(), "answers": dict(self.unknown.most_common())},
            "device": self.device,
            "metrics": self.metrics,
        }


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write outcomes of examples in the format that the file's suffix names, see `SUFFIXES`."""
    with output_file(path) as scratch:
        if path.suffix == ".csv":
            table.write_csv(scratch)
        elif path.suffix == ".jsonl":
            table.write_ndjson(scratch)
        else:
            table.write_parquet(scratch)


def parse_request(run: FinishedRun, task: str | None, data: str | None, split: Split) -> EvaluationRequest:
    """Resolve the options of `mtlab eval`; the run's plug-ins must be imported already.

    Args:
        run: the run to evaluate.
        task: `NAME,OPTION=VALUE,…`, or only options to change in the run's own task; None: the run's own.
        data: likewise for its data.
        split: the split to evaluate on.

    Raises:
        UserError: a name or option is unknown, or a value is invalid.

    """
    config = run.config["config"]
    chosen = _node(DATASETS, config["data"], data, "data")
    return EvaluationRequest(_node(TASKS, config["task"], task, "task"), chosen, split, own_data=_is_own(run, chosen))


def _is_own(run: FinishedRun, chosen: Mapping[str, Any]) -> bool:
    """Are these the data that a run was trained on, perhaps in another folder?"""
    own = run.config["config"]["data"]
    if chosen == own or chosen["name"] != own["name"]:
        return bool(chosen == own)
    entry, options = lookup_options(DATASETS, chosen, "data")
    differing = {option for option in chosen if chosen[option] != own.get(option)}
    trained = (run.config.get("identity") or {}).get("digests", {}).get("data")
    return differing <= entry.cls.location_options and trained == entry.cls.digest(options)


def evaluate_run(
    run: FinishedRun, request: EvaluationRequest, *, device: str = "auto", progress: Progress = lambda *_: None
) -> EvaluatedRun:
    """Evaluate a finished run; levels of its frozen towers come from the expert cache, as in training.

    Args:
        run: the run; its plug-ins must be imported already.
        request: the task, data and split.
        device: as `train.device`.
        progress: called before each forward pass, see `Progress`.

    Raises:
        UserError: data or weights are missing or have changed, the head does not fit the task, or model and data
            share no answer and it does not generate answers.

    """
    if request.own_data:  # which may have moved since
        run = replace(run, config={**run.config, "config": {**run.config["config"], "data": request.data}})
    check_unchanged(run.folder, run.config)
    config = {**run.config["config"], "task": request.task, "data": request.data}
    _check_head(config["task"], run.config["config"]["task"])
    train = check_config(TrainConfig, config["train"])
    runtime = Runtime(choose_device(device), train.precision)
    answers = dataset_answers(run.config["config"])
    entry, options = lookup_options(DATASETS, request.data, "data")
    dataset = entry.cls(options)
    examples = dataset.examples(request.split)
    if not examples:
        raise UserError(f"data set {entry.name!r} has no {request.split} examples", key="split")
    task = lookup_entry(TASKS, config["task"], "task")
    task.cls.check(task.name, entry.name, entry.cls.offers(options), dataset.answers)
    hidden = request.split in entry.cls.unlabelled_splits(options)
    mapped: Sequence[Example] = examples
    if task.cls.answering and not hidden:
        generates = config["model"].get("answers") == "generate"
        mapped = map_targets(examples, tuple(dataset.answers), answers, generates=generates)
    cached = cached_towers(config)
    own = {**config, "data": run.config["config"]["data"]}  # whose answers a language model scores
    model = build_model(own, answers, seed=run.config["seed"], device=device, towers=towers_to_run(config, cached))
    try:
        metadata = restore(model.network, run)
    except UserError:
        if config["task"] == run.config["config"]["task"]:
            raise
        problem = "a model with these options cannot take the run's weights: give options that size no head"
        raise UserError(problem, key="--task") from None
    loader = make_sources(
        config,
        dataset,
        answers,
        model.network.running_towers,
        cached,
        progress=lambda _: progress,
        device=str(runtime.device),
    ).loader(mapped)
    loader.batch([0])  # a tower that cannot read these data says so before the first pass
    size, done, one_pass = evaluation_batch_size(train), 0, model.network.task.one_pass

    def before_batch() -> None:
        nonlocal done
        progress(min(done, len(mapped)) if one_pass else done, len(mapped) if one_pass else None)
        done += size if one_pass else 1

    with fast_matmul():
        evaluation = evaluate(ForwardContext(model.network, runtime), loader, size, before_batch)
    return EvaluatedRun(
        run=run,
        request=request,
        step=metadata.get("step"),
        device=device_name(runtime.device),
        answers=answers,
        data_answers=tuple(dataset.answers),
        examples=examples,
        evaluation=evaluation,
        hidden=hidden,
    )


def map_targets(
    examples: Sequence[Example], data_answers: Sequence[str], answers: Sequence[str], *, generates: bool = False
) -> list[Example]:
    """Number the targets of examples as the model's classes; −1 where it has no such class, with the answer in words.

    Raises:
        UserError: the model has a class for none of them, and does not generate answers either.

    """
    classes = {answer: index for index, answer in enumerate(answers)}
    new = [classes.get(answer, -1) for answer in data_answers]
    mapped = [
        replace(
            each,
            target=new[each.target] if each.target >= 0 else -1,
            scores=tuple((new[answer], score) for answer, score in each.scores if new[answer] >= 0),
            worded_scores=tuple((data_answers[answer], score) for answer, score in each.scores if new[answer] < 0),
            answer=data_answers[each.target] if each.target >= 0 else each.answer,
        )
        for each in examples
    ]
    if not generates and all(each.target < 0 for each in mapped):
        some = ", ".join(repr(answer) for answer in data_answers[:4])
        known = ", ".join(repr(answer) for answer in answers[:4])
        raise UserError(f"the model can give none of these answers ({some} …); it knows {known} …", key="data")
    return mapped


def _node(registry: Registry[Any], own: Mapping[str, Any], text: str | None, key: str) -> dict[str, Any]:
    """Parse `NAME,OPTION=VALUE,…` into a section; without a new name, the options change those of the run's own."""
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
    for option, what in find_credentials(given):
        raise UserError(f"holds {what}: leave it out, it is stored with the result", key=f"--{key} {option}")
    name = given.get("name", own["name"])
    base = dict(own) if name == own["name"] else {}
    try:
        entry, options = lookup_options(registry, {**base, **given, "name": name}, key)
    except UserError as error:
        option = (error.key or "").removeprefix(f"{key}.")
        raise UserError(error.problem, key=f"--{key} {option}".strip(), file=error.file) from None
    return {"name": entry.name, **to_plain(options)}


def _split_options(text: str) -> list[str]:
    """Split at commas outside of brackets, as values may be lists."""
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
