"""A Slurm job for one run: submitted by submitit, recorded in the run directory, and what it executes on its node."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.slurm.queue import WARNING, SlurmError, last_error_line, query_jobs
from mtlab.launch.workers import TORCHRUN
from mtlab.processes import Process, current_process
from mtlab.runs.lock import guard

FOLDER = "slurm"  #: in the run directory: submitit's files, Slurm's own log, and the job's number


def submit_or_find(run: Path, worker: Sequence[str], variables: Mapping[str, str], options: Mapping[str, Any]) -> int:
    """Submit the job of a run, unless an earlier launcher's is still in the queue; return the job's number.

    Args:
        run: the run directory.
        worker: the command line of its worker.
        variables: the worker's environment variables, beside those of the cluster.
        options: of `make_executor`.

    Raises:
        SlurmError: Slurm does not accept it now.
        UserError: the run directory cannot be written.

    """
    with guard(run):
        known = read_job(run)
        if known is not None:
            info = query_jobs([known[0]]).get(known[0])
            if info is not None and info.active:
                return known[0]
        (run / "log.txt").touch()
        job = _submit(run, worker, variables, options)
        files.write_json(run / FOLDER / "job.json", {"job": job, "launcher": current_process().to_json()})
        return job


def _submit(run: Path, worker: Sequence[str], variables: Mapping[str, str], options: Mapping[str, Any]) -> int:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    chosen = make_executor(run / FOLDER, {**options, "job_name": f"mtlab-{run.parent.name[:8]}-{run.name}"})
    try:
        return int(chosen.submit(exec_worker, list(worker), str(run / "log.txt"), dict(variables)).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        raise SlurmError(last_error_line(str(error))) from None


def make_executor(folder: Path, options: Mapping[str, Any]) -> Any:
    """Make submitit's executor for one run.

    Args:
        folder: for submitit's files.
        options: see `mtlab.launch.backends.slurm_options`.

    Raises:
        UserError: submitit is not installed.

    """
    submitit = import_submitit()
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


def import_submitit() -> Any:
    """Import submitit.

    Raises:
        UserError: it is not installed.

    """
    try:
        import submitit
    except ImportError:
        raise UserError("slurm needs submitit: pip install -e '.[slurm]'", key="launcher") from None
    return submitit


def read_job(run: Path) -> tuple[int, Process] | None:
    """Return the job that was last submitted for a run, and its launcher; None if there was none."""
    try:
        data = files.read_json(run / FOLDER / "job.json")
        return int(data["job"]), Process.from_json(data["launcher"])
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError, UserError):
        return None


def forget_job(run: Path, job: int) -> None:
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
