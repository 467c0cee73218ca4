"""`mtlab intervene`: validate a finished run with its managers' weights replaced, by another seed's for example.

The run's directory is only read; results are written to `derived/<cell>/s<seed>/interventions.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from mtlab import files
from mtlab.config.check import check_config
from mtlab.config.nodes import lookup_entry, lookup_options
from mtlab.config.schema import TrainConfig
from mtlab.data.base import DATASETS
from mtlab.data.batches import Loader
from mtlab.errors import UserError
from mtlab.inference.loading import build_model, restore
from mtlab.managers.base import MODALITIES, Modality
from mtlab.matmul import fast_matmul
from mtlab.model.base import Encoder
from mtlab.model.forward import Runtime
from mtlab.recording import averages, probe
from mtlab.runs import schemas
from mtlab.runs.find_run import FinishedRun, check_unchanged, find_run
from mtlab.runs.manifest import ADVICE
from mtlab.runs.store import Store
from mtlab.tasks.base import TASKS
from mtlab.tasks.build import TaskModel, dataset_answers
from mtlab.tasks.evaluation import evaluate
from mtlab.training import intervention_metrics
from mtlab.training.assemble import evaluation_batch_size
from mtlab.training.environment import choose_device
from mtlab.training.sources import cached_towers, make_sources, towers_to_run

Progress = Callable[[int, int], None]  #: called with the numbers of passes over the validation data done and in all
STANDARD = "standard"  #: key of the interventions that `record.interventions` measures


def swap_key(seed: int) -> str:
    """Return the key of the intervention that uses another seed's weights."""
    return f"swap/{seed}"


def results_path(found: FinishedRun) -> Path:
    """Return the file for the results of a run's interventions.

    Raises:
        UserError: the run is in no store, or another checkpoint than its best is named.

    """
    if found.checkpoint.stem != "best":
        raise UserError("interventions are measured on a run's best checkpoint: name the run", file=found.checkpoint)
    if found.store is None:
        raise UserError("is in no store: there is no place for the results", file=found.folder)
    return found.store.derived(found.id) / "interventions.json"


def known_results(found: FinishedRun) -> dict[str, Any]:
    """Read the results measured so far, by the run itself or later: key → result."""
    kept = _read_results(results_path(found))
    recorded = (cast("Store", found.store).result(found.id) or {}).get("interventions")
    if recorded is not None:
        kept = {STANDARD: recorded} | kept
    return kept


def baseline_value(found: FinishedRun, results: Mapping[str, Any]) -> float:
    """Return the metric of the run without interventions.

    Raises:
        UserError: its `result.json` lacks the metric.

    """
    result = found.store.result(found.id) if found.store is not None else None
    metric = next(iter(results.values()))["metric"]
    if result is None or metric not in result["metrics"]:
        raise UserError(f"is damaged (metrics.{metric}: is missing): {ADVICE}", file=found.folder / "result.json")
    return float(result["metrics"][metric])


def why_no_swap(found: FinishedRun) -> str | None:
    """Say why no other seed's weights can replace the run's own; None where they can."""
    try:
        task = lookup_entry(TASKS, found.config["config"]["task"], "task")
    except UserError:  # the task of a plug-in that is not imported yet
        return None
    if task.cls.reads_each_alone():
        return None
    passes = f"{task.name!r} runs several passes over a text and an image"
    return f"{passes}: another seed's weights cannot replace the run's own"


def other_seeds(found: FinishedRun) -> list[int]:
    """List the other finished seeds of the run's cell, whose weights it could use."""
    if why_no_swap(found) is not None:
        return []
    seeds = (int(folder.name[1:]) for folder in found.folder.resolve().parent.glob("s*") if folder.name[1:].isdigit())
    store, cell = cast("Store", found.store), found.config["cell"]
    return sorted(seed for seed in seeds if seed != found.config["seed"] and store.state(f"{cell}/s{seed}") == "done")


@dataclass(frozen=True)
class LoadedRun:
    """A finished run's model and validation data."""

    config: Mapping[str, Any]
    model: TaskModel
    loader: Loader
    batch: int
    runtime: Runtime

    @property
    def levels(self) -> dict[Modality, tuple[int, ...]]:
        """The levels that each tower offers, counted from 1."""
        return dict(self.model.encoder.levels)


def load_run(found: FinishedRun, *, device: str = "auto") -> LoadedRun:
    """Load a finished run; its plug-ins must be imported already.

    Raises:
        UserError: data or weights are missing or have changed, or its task cannot be evaluated.

    """
    check_unchanged(found.folder, found.config, sources=True)  # what is measured stands beside the run's own numbers
    config = found.config["config"]
    entry, options = lookup_options(DATASETS, config["data"], "data")
    dataset = entry.cls(options)
    cached = cached_towers(config)
    train = check_config(TrainConfig, config["train"])
    runtime = Runtime(choose_device(device), train.precision)
    answers = dataset_answers(config)
    towers = towers_to_run(config, cached)
    model = build_model(config, answers, seed=found.config["seed"], device=device, towers=towers).network
    restore(model, found)
    loader = make_sources(
        config,
        dataset,
        answers,
        model.running_towers,
        cached,
        progress=lambda _: lambda _, __: None,
        device=str(runtime.device),
    ).loader(dataset.examples("val"))
    return LoadedRun(config, model, loader, evaluation_batch_size(train), runtime)


def measure(
    found: FinishedRun,
    seeds: Sequence[int],
    *,
    standard: bool,
    device: str = "auto",
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Measure a run under interventions, and store each result at once, unless the store is read-only.

    Args:
        found: the run; its plug-ins must be imported already.
        seeds: other finished seeds of its cell, whose weights it is to use.
        standard: measure uniform weights, weights averaged over tokens, and each expert removed.
        device: as `train.device`.
        progress: called before the first pass over the validation data, and after each.

    Returns:
        All results of the run so far: `STANDARD` → as in a `result.json`; `swap/SEED` → `{"metric": …, "text":
        value | None, "image": value | None, "both": value | None}`, None without
        weights, or such that cannot be exchanged.

    Raises:
        UserError: a seed is not finished, the disk is full; or see `load_run`.

    """
    path, store = results_path(found), cast("Store", found.store)
    if seeds and (why := why_no_swap(found)) is not None:
        raise UserError(why, file="command line", key="--swap")
    others = [_find_other(found, store, seed) for seed in seeds]
    with suppress(files.ReadOnlyError):
        Store.open(store.root, create=True)  # a disk that is full says so before all is measured
    run = load_run(found, device=device)
    modalities = _weighted_modalities(run)
    exchanged = exchangeable(run.model.encoder, modalities)
    passes = (_passes(run, modalities) if standard else 0) + len(seeds) * (len(exchanged) + (len(exchanged) == 2))
    done = 0
    progress(done, passes)

    def passed() -> None:
        nonlocal done
        done += 1
        progress(done, passes)

    result = known_results(found)
    with fast_matmul():
        if standard:
            result[STANDARD] = intervention_metrics.measure_interventions(
                run.model, run.loader, run.batch, run.runtime, run.levels, modalities, passed=passed
            )
            _write_result(store, path, STANDARD, result[STANDARD])
        for seed, other in zip(seeds, others, strict=True):
            key = swap_key(seed)
            result[key] = _swap(run, load_run(other, device=device), exchanged, passed)
            _write_result(store, path, key, result[key])
    return result


def _swap(run: LoadedRun, other: LoadedRun, weighted: set[Modality], passed: Callable[[], None]) -> dict[str, Any]:
    def value(*modalities: Modality) -> float | None:
        if not weighted.issuperset(modalities):
            return None
        context = intervention_metrics.swapped_context(run.model, other.model, run.runtime, modalities)
        context = replace(context, reads="primary")
        mean = float(evaluate(context, run.loader, run.batch).outcomes.mean())
        passed()
        return mean

    metric = f"val/{next(iter(run.model.task.metrics))}"
    return {"metric": metric, "text": value("text"), "image": value("image"), "both": value(*MODALITIES)}


def exchangeable(encoder: Encoder, weighted: set[Modality]) -> set[Modality]:
    """Return the modalities, of those whose managers all have weights, that can take all weights of another seed."""
    return weighted - {modality for (modality, _), each in encoder.managers() if not each.exchanges_weights}


def _find_other(found: FinishedRun, store: Store, seed: int) -> FinishedRun:
    finished = other_seeds(found)
    if seed not in finished:
        listed = ", ".join(map(str, finished)) or "none"
        raise UserError(
            f"{found.config['label']} has no other finished seed {seed} (finished: {listed})", file="command line",
            key="--swap",
        )  # fmt: skip
    return find_run(store.run(f"{found.config['cell']}/s{seed}"), store.root)


def _write_result(store: Store, path: Path, key: str, result: Mapping[str, Any]) -> None:
    """Add a result to the stored ones, which another process may have extended meanwhile; not in a read-only store."""
    with suppress(files.ReadOnlyError):
        store.check_writable()
        files.write_json(path, _read_results(path) | {key: result})


def _read_results(path: Path) -> dict[str, Any]:
    """Read the stored results.

    Raises:
        UserError: the file is damaged.

    """
    try:
        stored: dict[str, Any] = files.read_json(path)
    except FileNotFoundError:
        return {}
    schemas.check_interventions(stored, path, advice="remove it, and `mtlab intervene` measures anew")
    return stored


def _weighted_modalities(run: LoadedRun) -> set[Modality]:
    """Find the modalities whose managers all return weights, by a forward pass of one example."""
    seen = probe.record_batch(run.model, run.runtime, run.loader.batch([0]).to(run.runtime.device))
    names = {name: values for name, _, values in probe.manager_rows(seen)}
    return averages.weighted_modalities(names, run.model.encoder)


def _passes(run: LoadedRun, weighted: set[Modality]) -> int:
    return sum(len(run.model.encoder.offered_levels(each)) + 2 * (each in weighted) for each in MODALITIES)
