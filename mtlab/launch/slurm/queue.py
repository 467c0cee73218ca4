"""Slurm's command-line programs: query and cancel jobs, describe the cluster, test a job's options."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.errors import UserError, nearest
from mtlab.launch.exit_status import ExitStatus

WARNING = 60  #: seconds before a job's time limit at which its worker is asked to write a checkpoint
TICK = 60  #: seconds by which Slurm may be early or late
TIMEOUT = 60.0  #: seconds that a command of Slurm may take

JobId = int | str  #: a job's number, or ARRAY_INDEX of one in an array, whose own number changes when it starts

_FIELDS = ("JobID", "State", "exit_code", "TimeUsed", "TimeLimit", "ArrayJobID", "ArrayTaskID")
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"}
_LOST = {
    "PREEMPTED": "pre-empted by a more urgent job",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed to boot",
    "CANCELLED": "cancelled",
    "DEADLINE": "its deadline passed",
    "REVOKED": "revoked",
}


class SlurmError(Exception):
    """A command of Slurm failed."""


class QueueFullError(SlurmError):
    """The user has as many jobs as the cluster takes."""


@dataclass(frozen=True)
class JobInfo:
    """The state of a job in the queue."""

    job: JobId
    state: str
    code: int  #: exit code of its script; 128 + n if signal n ended it
    used: int  #: seconds
    limit: int | None  #: seconds; None: without limit

    @property
    def pending(self) -> bool:
        """Does it wait in the queue?"""
        return self.state in _WAITING

    @property
    def active(self) -> bool:
        """Does it wait or run?"""
        return self.state in _WAITING | _RUNNING

    def exit_status(self) -> ExitStatus:
        """Return how it ended."""
        name = f"job {self.job}"
        if self.state == "TIMEOUT" or (self.code in (130, 143) and self._late()):
            spent = f"{self.limit / 3600:.3g} hours" if self.limit else "its time"
            return ExitStatus(None, "timeout", f"{name}: not finished after {spent}")
        if self.state == "OUT_OF_MEMORY":
            return ExitStatus(None, "oom", f"{name}: Slurm ended it for its memory: raise resources.memory_gb")
        if self.state in _LOST:
            return ExitStatus(None, None, f"{name}: {_LOST[self.state]}")
        return ExitStatus(self.code)

    def _late(self) -> bool:
        return self.limit is not None and self.used >= self.limit - WARNING - TICK


def query_jobs(jobs: Iterable[JobId], *, timeout: float = TIMEOUT) -> dict[JobId, JobInfo]:
    """Query the queue for jobs with one command; those that it has forgotten are left out.

    Args:
        jobs: their numbers.
        timeout: seconds that the command may take.

    Raises:
        SlurmError: the queue does not answer.

    """
    names = ",".join(_names(set(jobs)))
    if not names:
        return {}
    format_ = ",".join(f"{field}:|" for field in _FIELDS)
    try:
        words = ("squeue", "--noheader", "--array", "--states=all", f"--jobs={names}", f"--Format={format_}")
        text = run_command(*words, timeout=timeout)
    except SlurmError as error:
        if "Invalid job id" in str(error):  # only if it has forgotten all of them
            return {}
        raise
    return {info.job: info for info in parse_squeue(text)}


def _names(jobs: Iterable[JobId]) -> list[str]:
    return sorted(map(str, jobs), key=lambda name: (len(name), name))


def parse_squeue(text: str) -> list[JobInfo]:
    """Parse the lines that `query_jobs` asks for."""
    jobs = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split("|")]
        if len(words) >= 5 and words[0].isdigit():
            array, index = (*words[5:7], "", "")[:2]
            code, _, number = words[2].partition(":")
            signal = int(number or 0)
            jobs.append(
                JobInfo(
                    job=f"{array}_{index}" if index.isdigit() else int(words[0]),
                    state=words[1].split(" ")[0],
                    code=128 + signal if signal else int(code or 0),
                    used=parse_duration(words[3]) or 0,
                    limit=parse_duration(words[4]),
                )
            )
    return jobs


def parse_duration(text: str) -> int | None:
    """Parse Slurm's `days-hours:minutes:seconds`, in seconds; None for UNLIMITED and the like.

    >>> parse_duration("1-02:03:04"), parse_duration("01:30"), parse_duration("UNLIMITED")
    (93784, 90, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def cancel(jobs: Iterable[JobId], *, force: bool = False) -> None:
    """Cancel jobs: SIGTERM, then, after the site's KillWait, SIGKILL; with `force` SIGKILL at once.

    Raises:
        SlurmError: the queue does not answer.

    """
    words = ["--signal=KILL"] if force else []
    run_command("scancel", "--quiet", *words, *_names(jobs))


def run_command(*words: str, timeout: float = TIMEOUT) -> str:
    """Run a command of Slurm and return its output.

    Args:
        words: the command line.
        timeout: seconds that the command may take.

    Raises:
        SlurmError: it failed.

    """
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{words[0]}: {error}") from None
    if done.returncode:
        raise SlurmError(last_error_line(done.stderr) or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def last_error_line(text: str) -> str:
    """Return the last line of a command's error output, without the command's name."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Try ")]
    return re.sub(r"^\w+: (error: |fatal: )?", "", lines[-1]) if lines else ""


def partitions() -> list[str]:
    """Return the names of the cluster's partitions.

    Raises:
        SlurmError: the cluster does not answer.

    """
    return sorted(
        {line.strip() for line in run_command("sinfo", "--noheader", "--format=%R").splitlines() if line.strip()}
    )


def describe_cluster() -> dict[str, Any]:
    """Describe the cluster of this machine: `version`, `partitions`, and `problem` if it does not answer."""
    cluster: dict[str, Any] = {"version": None, "partitions": [], "problem": None}
    if shutil.which("sbatch") is None:
        return cluster
    try:
        cluster["version"] = run_command("sbatch", "--version").strip().rpartition(" ")[2]
        rows = run_command("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G").splitlines()
    except SlurmError as error:
        return cluster | {"problem": str(error)}
    names = ("name", "state", "time_limit", "nodes", "cpus", "memory_mib", "gres")
    cluster["partitions"] = [dict(zip(names, (word.strip() for word in row.split("|")), strict=False)) for row in rows]
    return cluster


def refuse_impossible_job(options: Mapping[str, Any], given: Mapping[str, str | None]) -> None:
    """Ask Slurm whether it would accept a job (`sbatch --test-only`).

    Args:
        options: of the job, see `mtlab.launch.backends.slurm_options`.
        given: the settings that may be the cause: key → value.

    Raises:
        UserError: it would not; the setting is named where Slurm says which.

    """
    if shutil.which("sbatch") is None:
        raise UserError("no sbatch here: Slurm's jobs are submitted from a login node; or use --launcher local")
    try:
        known = partitions()
        wanted = given.get("launcher.partition")
        for name in (wanted or "").split(","):
            if name and name not in known:
                raise UserError(
                    f"the cluster has no partition {name!r}; {nearest(name, known)}", key="launcher.partition"
                )
        run_command("sbatch", "--test-only", *_flags(options), "--wrap=true")
    except SlurmError as error:
        why = str(error).removeprefix("allocation failure: ")
        if "configuration source" in why:
            raise UserError(
                "Slurm's programs are here, but no cluster that they belong to: submit from a login node, or use "
                "--launcher local"
            ) from None
        shown = ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
        key = _blamed_key(why)
        raise UserError(f"Slurm would not take such a job ({shown}): {why}", key=key) from None


def _flags(options: Mapping[str, Any]) -> list[str]:
    plain = {**{key: value for key, value in options.items() if key not in ("extra", "setup")}, **options["extra"]}
    flags = [(key.replace("_", "-"), value) for key, value in plain.items() if value is not None]
    return [f"--{key}" if value is True else f"--{key}={value}" for key, value in flags]


def _blamed_key(why: str) -> str:
    words = why.lower()
    if "account" in words:
        return "launcher.account"
    if "option" in words:
        return "launcher.extra"
    if "node configuration" in words or "gres" in words or "memory" in words or "time limit" in words:
        return "resources"
    return "launcher"
