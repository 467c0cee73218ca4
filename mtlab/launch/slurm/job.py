"""Slurm jobs of runs, each by itself or in an array: submitted by submitit, recorded, and what they execute there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.extras import import_extra
from mtlab.launch.slurm.queue import WARNING, JobId, QueueFullError, SlurmError, last_error_line, query_jobs
from mtlab.launch.workers import TORCHRUN
from mtlab.processes import Process, current_process
from mtlab.runs.lock import guard

FULL = re.compile(r"\w*Submit\w*Limit")  #: sbatch: QOSMaxSubmitJobPerUserLimit, AssocGrpSubmitJobsLimit, …
SETTINGS = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")  #: variables of Slurm that are a user's, and no job's
FOLDER = "slurm"  #: in the run directory: submitit's files, Slurm's own log, and the job's number


class Submission(NamedTuple):
    """What the job of a run executes."""

    run: Path  #: its directory
    worker: Sequence[str]  #: the command line of its worker
    variables: Mapping[str, str]  #: the worker's environment variables, beside those of the cluster


def submit_or_find(run: Path, worker: Sequence[str], variables: Mapping[str, str], options: Mapping[str, Any]) -> JobId:
    """Submit the job of a run, unless an earlier launcher's is still in the queue; see `submit_or_find_all`."""
    return submit_or_find_all([Submission(run, worker, variables)], options)[0]


def submit_or_find_all(submissions: Sequence[Submission], options: Mapping[str, Any]) -> list[JobId]:
    """Submit the jobs of runs, several as one array, except those of which an earlier launcher's is still in the queue.

    Args:
        submissions: of each run.
        options: of `make_executor`.

    Returns:
        The jobs, in the order of the submissions.

    Raises:
        SlurmError: Slurm does not accept them now.
        UserError: a run directory cannot be written.

    """
    jobs: dict[Path, JobId] = {}
    with ExitStack() as guards:
        for run in sorted(
            each.run for each in submissions
        ):  # in one order, so that no two launchers wait for each other
            guards.enter_context(guard(run))
        known = {each.run: left[0] for each in submissions if (left := read_job(each.run)) is not None}
        infos = query_jobs(known.values())
        jobs |= {run: job for run, job in known.items() if job in infos and infos[job].active}
        missing = [each for each in submissions if each.run not in jobs]
        for each, job in zip(missing, _submit(missing, options), strict=True):
            files.write_json(each.run / FOLDER / "job.json", {"job": job, "launcher": current_process().to_json()})
            jobs[each.run] = job
    return [jobs[each.run] for each in submissions]


def _submit(submissions: Sequence[Submission], options: Mapping[str, Any]) -> list[JobId]:
    if not submissions:
        return []
    run, array = submissions[0].run, len(submissions) > 1
    name = "mtlab-array" if array else f"mtlab-{run.parent.name[:8]}-{run.name}"
    several = {"array_parallelism": len(submissions)} if array else {}  # submitit's default is 256 at once
    folder = array_folder(run) if array else run / FOLDER
    for each in submissions:
        (each.run / "log.txt").touch()
    try:
        executor = make_executor(folder, {**options, **several, "job_name": name})
        with _outside_of_jobs(), executor.batch() if array else nullcontext():
            jobs = [
                executor.submit(exec_worker, list(each.worker), str(each.run / "log.txt"), dict(each.variables))
                for each in submissions
            ]
        return [int(job.job_id) if job.job_id.isdigit() else str(job.job_id) for job in jobs]
    except OSError as error:
        explained = files.as_user_error(error, folder)
        if explained is error:  # not of the disk: sbatch is missing, or no process can be started, for a moment
            raise SlurmError(str(error)) from None
        raise explained from None
    except RuntimeError as error:  # as all errors of submitit
        text = str(error)
        kind = QueueFullError if FULL.search(text) else SlurmError
        raise kind(last_error_line(text)) from None


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Submit as from a login node: what an interactive job says of itself, such as its memory, is not for others."""
    held = "SLURM_JOB_ID" in os.environ
    own = [name for name in os.environ if name.startswith("SLURM_") and name not in SETTINGS] if held else []
    removed = {name: os.environ.pop(name) for name in own}
    try:
        yield
    finally:
        os.environ.update(removed)


def array_folder(run: Path) -> Path:
    """Return the folder of submitit's and Slurm's files of job arrays: in the store of a run directory."""
    return run.parents[2] / FOLDER


def slurm_log(run: Path, job: JobId) -> str:
    """Return the file with Slurm's own messages on a job, from the run directory."""
    name = f"{job}_0_log.err"
    return f"{FOLDER}/{name}" if isinstance(job, int) else os.path.relpath(array_folder(run) / name, run)


def make_executor(folder: Path, options: Mapping[str, Any]) -> Any:
    """Make submitit's executor for one run.

    Args:
        folder: for submitit's files.
        options: see `mtlab.launch.backends.slurm_options`.

    Raises:
        UserError: submitit is not installed.

    """
    submitit = import_extra("submitit", "slurm")
    made = submitit.SlurmExecutor(folder=folder)
    plain = {key: value for key, value in options.items() if key != "extra" and value is not None}
    made.update_parameters(
        **{
            "time": None,  # the partition's, unless given
            "nodes": 1,
            "ntasks_per_node": 1,
            **plain,
            "srun_args": [f"--cpus-per-task={plain.get('cpus_per_task', 1)}"],  # srun does not ask sbatch for them
            # SIGTERM, as `exec_worker` replaces the process that handles submitit's own signal.
            "additional_parameters": {"signal": f"TERM@{WARNING}", **options.get("extra", {})},
        }
    )
    return made


def read_job(run: Path) -> tuple[JobId, Process] | None:
    """Return the job that was last submitted for a run, and its launcher; None if there was none."""
    try:
        data = files.read_json(run / FOLDER / "job.json")
        job = data["job"]
        if not (isinstance(job, int) or re.fullmatch(r"\d+_\d+", job)):
            return None
        return job, Process.from_json(data["launcher"])
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError, UserError):
        return None


def take_over(run: Path, job: JobId) -> bool:
    """Make this process the launcher of a run's job, if its own is gone; return whether it is that launcher now."""
    known, us = read_job(run), current_process()
    if known is None or known[0] != job or known[1] == us:
        return True
    if known[1].alive() is not False:  # it lives, or may live on another host
        return False
    files.write_json(run / FOLDER / "job.json", {"job": job, "launcher": us.to_json()})
    return True


def forget_job(run: Path, job: JobId) -> None:
    """Remove the record of a job that has ended."""
    known = read_job(run)
    if known is not None and known[0] == job:
        (run / FOLDER / "job.json").unlink(missing_ok=True)


def exec_worker(worker: Sequence[str], log: str, variables: Mapping[str, str]) -> None:
    """Replace this process by the worker, on the node: signals reach it, and its exit code is the job's.

    Args:
        worker: its command line.
        log: the file to which its output is appended.
        variables: environment variables beside the job's.

    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    own = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    os.execvpe(worker[0], list(worker), {**own, **variables})
