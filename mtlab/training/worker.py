"""The worker: one run directory, from its `config.json` to its `result.json`, by one process or several."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch

from mtlab import files
from mtlab.config.nodes import lookup_options
from mtlab.config.plugins import import_plugins
from mtlab.data.base import DATASETS
from mtlab.distributed import torch_process_group
from mtlab.distributed.process_group import ProcessGroup
from mtlab.errors import UserError
from mtlab.matmul import fast_matmul
from mtlab.processes import (
    EXIT_DISK,
    EXIT_FAILED,
    EXIT_INPUT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_LOCKED,
    EXIT_PEER_LOST,
    LAUNCHER,
)
from mtlab.resolution.checks import processes_problem
from mtlab.resolution.identity import class_versions
from mtlab.runs import schemas
from mtlab.runs.checkpoints import CorruptError
from mtlab.runs.lock import LockedError, RunLock
from mtlab.runs.results import write_result
from mtlab.towers.build import KINDS, fetched_digest
from mtlab.training import environment, failures
from mtlab.training.assemble import assemble
from mtlab.training.finish import finish
from mtlab.training.init_from import find_checkpoint
from mtlab.training.interrupt import Interrupted, Interrupts
from mtlab.training.loop import Loop, summary_metrics
from mtlab.training.resume import FROM_START
from mtlab.units import format_metric


def train(run_dir: Path, *, plugins: bool = True) -> int:
    """Train one run to its end, resuming from its last checkpoint; a finished run is never touched.

    Under `torchrun` several processes call this for one run, and train it together.

    Args:
        run_dir: the run's folder, with its `config.json`.
        plugins: may the modules that its study names be imported?

    Returns:
        The exit code: 0 finished; 2 the user's input is wrong and 3 failed, both with `failure.json`; 74 the disk is
        full, or does not answer; 130 or 143 interrupted, to be resumed; 75 another process works on the run; 76 another
        process of this run has ended.

    """
    if (run_dir / "result.json").exists():
        # A launcher would append it to the log of the finished run; of several processes one says it.
        if LAUNCHER not in os.environ and os.environ.get("RANK", "0") == "0":
            print(f"{run_dir} is finished already")
        return 0
    try:
        with torch_process_group.init_process_group() as group:
            return train_in_group(group, run_dir, plugins=plugins)
    except UserError as error:
        return _refuse(error)
    except torch_process_group.PeerLostError as error:
        print(f"mtlab: lost the other processes of this run, one of which may have ended ({error})", file=sys.stderr)
        return EXIT_PEER_LOST
    except KeyboardInterrupt:  # before `Interrupts` turns it into a line
        return EXIT_INTERRUPTED


def train_in_group(group: ProcessGroup, run_dir: Path, *, plugins: bool = True) -> int:
    """Train with the other processes of a group; only the main one prints. Returns the exit code."""
    with ExitStack() as stack:
        if not group.is_main:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        try:
            if not (run_dir / "config.json").is_file():
                raise UserError(
                    "is no run directory (it has no config.json): `mtlab run FILE` makes them", file=run_dir
                )
            with Interrupts(group.all_reduce_max) as interrupts, hold_lock(run_dir, group), fast_matmul():
                return _attempt(run_dir, group, interrupts, plugins=plugins)
        except LockedError as error:
            if group.is_main:
                print(f"mtlab: {error}", file=sys.stderr)
            return EXIT_LOCKED
        except UserError as error:
            return _refuse(error, told=group.is_first_to_fail())
        except Interrupted as error:
            print(f"interrupted by {error}; `mtlab train {run_dir}` goes on from here", flush=True)
            return error.exit_code
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


def _refuse(error: UserError, *, told: bool = True) -> int:
    """Print an error that was met before the run began; return the exit code."""
    with suppress(OSError):  # the log may lie on a full disk
        if told:
            print(f"mtlab: {error}", file=sys.stderr, flush=True)
    return EXIT_DISK if isinstance(error, files.DiskError) else EXIT_INPUT_ERROR


@contextmanager
def hold_lock(run_dir: Path, group: ProcessGroup) -> Iterator[None]:
    """Lock a run; of several processes the main one does.

    Raises:
        LockedError: another process works on the run.

    """
    with ExitStack() as stack:
        problem: str | None = None
        if group.is_main:
            try:
                stack.enter_context(RunLock(run_dir))
            except LockedError as error:
                problem = error.problem
        problem = group.broadcast_object(problem)
        if problem is not None:
            raise LockedError(problem, file=run_dir)
        yield


def _attempt(run_dir: Path, group: ProcessGroup, interrupts: Interrupts, *, plugins: bool) -> int:
    if group.broadcast_object((run_dir / "result.json").exists()):  # another worker finished it before we had the lock
        return 0
    attempt = 1
    if group.is_main:
        with suppress(FileNotFoundError, UserError):  # no attempt yet, or damaged: counted anew
            state = files.read_json(run_dir / "state.json")
            schemas.check(state, schemas.StateFile, run_dir / "state.json")
            attempt += state["attempt"]
        with files.fence(run_dir / "failure.json"):
            (run_dir / "failure.json").unlink(missing_ok=True)
    attempt = group.broadcast_object(attempt)
    try:
        config = files.read_json(run_dir / "config.json")
        schemas.check(config, schemas.ConfigFile, run_dir / "config.json")
        try:
            _train(run_dir, config, attempt, group, interrupts, plugins=plugins)
        except CorruptError as error:  # the best checkpoint was damaged meanwhile: resuming notices it
            print(f"{error}: {FROM_START}", flush=True)
            _train(run_dir, config, attempt, group, interrupts, plugins=plugins)
    except (torch_process_group.PeerLostError, LockedError):
        raise
    except Exception as error:
        if isinstance(error.__cause__, Interrupted):  # Python wraps what a handler raises within a `__set_name__`
            raise error.__cause__ from None
        failure = failures.describe_failure(error, attempt, run_dir)
        with interrupts.deferred():  # a process that failed later may end first, and torchrun then stops this one
            if group.is_first_to_fail():
                if failure["kind"] == "bug":
                    traceback.print_exc()
                with suppress(OSError, files.DiskError):  # there may be no space left to say so
                    print(f"mtlab: {failure['error']}", file=sys.stderr, flush=True)
                    files.write_json(run_dir / "failure.json", failure)
        return {"input": EXIT_INPUT_ERROR, "disk": EXIT_DISK}.get(failure["kind"], EXIT_FAILED)
    return 0


def _train(
    run_dir: Path,
    run_config: dict[str, Any],
    attempt: int,
    group: ProcessGroup,
    interrupts: Interrupts,
    *,
    plugins: bool,
) -> None:
    config, seed = run_config["config"], run_config["seed"]
    device = environment.choose_device(config["train"]["device"], group.local_rank, group.local_world_size)
    threads = config["train"]["threads"]
    torch.set_num_threads(threads)
    environment.keep_freed_memory()
    if group.is_main:
        files.write_json(
            run_dir / "state.json", environment.describe_attempt(attempt, device, threads, group.world_size)
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    import_plugins(run_config["plugins"], Path(run_config["plugin_folder"]), allowed=plugins)
    _check_content(config, run_config["identity"])
    if problem := processes_problem(group.world_size, config):
        raise UserError(problem, key="train.batch")
    initial: Path | None = None
    if config["init_from"] is not None:
        initial = find_checkpoint(config["init_from"], run_config["parents"], run_dir.absolute().parent.parent)
    run = assemble(config, seed, group, initial)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # of filling the expert cache
    if run.train.compile:
        run.model.encoder.compile(dynamic=True)
    progress = Loop(run, run_dir, interrupts).train()
    group.barrier()  # until the best checkpoint is there, which all read now
    result = finish(run, progress, run_dir, run_config["cost"], interrupts.check)
    with interrupts.deferred():  # the run is as good as finished, and its last checkpoint goes before it has a result
        if group.is_main:
            write_result(run_dir, result)
        group.barrier()  # if one ended early, torchrun would end the others
    metrics = summary_metrics(result["metrics"]).items()
    shown = ", ".join(f"{name} {format_metric(value, name)}" for name, value in metrics)
    print(f"finished after {progress.step} steps: {shown}", flush=True)


def _check_content(config: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise a UserError if classes, the data or the towers' weights are no longer those that the run's id names."""
    planned = identity.get("digests", {})
    anew = "since this run was planned: `mtlab run FILE` plans it anew"
    for name, version in class_versions(config).items():
        if (before := identity.get("versions", {}).get(name, version)) != version:
            raise UserError(f"{name} went from version {before} to {version} {anew}", key=name.partition(":")[0])
    again = f"have changed {anew}"
    entry, options = lookup_options(DATASETS, config["data"], "data")
    if "data" in planned and entry.cls.digest(options) != planned["data"]:
        raise UserError(f"the data {again}", key="data")
    for kind in KINDS:
        if kind in planned and fetched_digest(kind, config[kind]) != planned[kind]:
            raise UserError(f"the weights of the {kind} tower {again}", key=kind)
