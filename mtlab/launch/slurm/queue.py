"""Slurm's commands: what its queue says of our jobs, in one question for all of them, and what its partitions are."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.errors import UserError
from mtlab.launch.exit_status import ExitStatus

WARNING = 60  #: seconds before the end of its time at which a worker is told to keep its state
TICK = 60  #: seconds by which Slurm may be early or late with that
PATIENCE = 60.0  #: seconds that a command of Slurm may take

_FIELDS = ("JobID", "State", "exit_code", "RestartCnt", "TimeUsed", "TimeLimit")
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_GOING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"}
_LOST = {
    "PREEMPTED": "pre-empted by a more urgent job",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed to boot",
    "CANCELLED": "cancelled",
    "DEADLINE": "its deadline passed",
    "REVOKED": "revoked",
}


class SlurmError(Exception):
    """A command of Slurm failed; its last line says why."""


@dataclass(frozen=True)
class JobInfo:
    """What the queue says of a job."""

    job: int
    state: str
    code: int  #: of its script, as shells have it: 128 + n if signal n ended it
    restarts: int  #: how often Slurm has put it back into the queue
    used: int  #: seconds that it has run
    limit: int | None  #: seconds that it may run; None: without end

    @property
    def pending(self) -> bool:
        """Does it wait for a place?"""
        return self.state in _WAITING

    @property
    def active(self) -> bool:
        """Is it not at its end yet?"""
        return self.state in _WAITING | _GOING

    def end(self) -> ExitStatus:
        """Say how it ended, in the words that all launchers share."""
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


def query_jobs(jobs: Iterable[int], *, patience: float = PATIENCE) -> dict[int, JobInfo]:
    """Ask the queue about jobs, in one question; those that it has forgotten are left out.

    Args:
        jobs: their numbers.
        patience: seconds that it may take.

    Raises:
        SlurmError: it cannot be asked now.

    """
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    names = ",".join(map(str, wanted))
    format_ = ",".join(f"{field}:|" for field in _FIELDS)
    try:
        asked = ("squeue", "--noheader", "--states=all", f"--jobs={names}", f"--Format={format_}")
        text = run_command(*asked, patience=patience)
    except SlurmError as error:
        if "Invalid job id" in str(error):  # said only if it has forgotten all of them
            return {}
        raise
    return {seen.job: seen for seen in parse_squeue(text)}


async def query_jobs_async(jobs: Iterable[int]) -> dict[int, JobInfo]:
    """`query_jobs` in a thread, so that all else goes on."""
    return await asyncio.to_thread(query_jobs, tuple(jobs))


def parse_squeue(text: str) -> list[JobInfo]:
    """Read the lines that `query_jobs` asks for."""
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split("|")]
        if len(words) >= len(_FIELDS) and words[0].isdigit():
            code, _, number = words[2].partition(":")
            signal = int(number or 0)
            found.append(
                JobInfo(
                    job=int(words[0]),
                    state=words[1].split(" ")[0],
                    code=128 + signal if signal else int(code or 0),
                    restarts=int(words[3] or 0),
                    used=parse_duration(words[4]) or 0,
                    limit=parse_duration(words[5]),
                )
            )
    return found


def parse_duration(text: str) -> int | None:
    """Read Slurm's `days-hours:minutes:seconds`, as far as it is written; None of UNLIMITED and the like.

    >>> seconds("1-02:03:04"), seconds("01:30"), seconds("UNLIMITED")
    (93784, 90, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def cancel(jobs: Iterable[int], *, force: bool = False) -> None:
    """End jobs: SIGTERM, then, after the site's KillWait, SIGKILL; with `force` SIGKILL at once.

    Raises:
        SlurmError: the queue cannot be asked now.

    """
    words = ["--signal=KILL"] if force else []
    run_command("scancel", "--quiet", *words, *map(str, sorted(jobs)))


def run_command(*words: str, patience: float = PATIENCE) -> str:
    """Run a command of Slurm; return what it prints.

    Args:
        words: the command line.
        patience: seconds that it may take.

    Raises:
        SlurmError: it failed.

    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=patience, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{words[0]}: {error}") from None
    if done.returncode:
        raise SlurmError(last_error_line(done.stderr) or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def last_error_line(text: str) -> str:
    """Return the last thing that a command complained of, without its own name."""
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
    """Say what Slurm there is here: `version`, `partitions`, and `problem` if the cluster does not answer."""
    found: dict[str, Any] = {"version": None, "partitions": [], "problem": None}
    if shutil.which("sbatch") is None:
        return found
    try:
        found["version"] = run_command("sbatch", "--version").strip().rpartition(" ")[2]
        rows = run_command("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G").splitlines()
    except SlurmError as error:
        return found | {"problem": str(error)}
    names = ("name", "state", "time_limit", "nodes", "cpus", "memory_mib", "gres")
    found["partitions"] = [dict(zip(names, (word.strip() for word in row.split("|")), strict=False)) for row in rows]
    return found


def refuse_impossible(options: Mapping[str, Any], asked: Mapping[str, str | None]) -> None:
    """Ask Slurm whether it would take a job, and start nothing.

    Args:
        options: of the job, see `mtlab.launch.backends.slurm_options`.
        asked: the settings to blame: key → value.

    Raises:
        UserError: it would not; the setting is named where Slurm says enough.

    """
    from mtlab.errors import nearest

    if shutil.which("sbatch") is None:
        raise UserError("no sbatch here: Slurm's jobs are submitted from a login node; or use --launcher local")
    try:
        known = partitions()
        wanted = asked.get("launcher.partition")
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
        shown = ", ".join(f"{key} {value}" for key, value in asked.items() if value is not None)
        key = _blamed(why)
        raise UserError(f"Slurm would not take such a job ({shown}): {why}", key=key) from None


def _flags(options: Mapping[str, Any]) -> list[str]:
    plain = {**{key: value for key, value in options.items() if key not in ("extra", "setup")}, **options["extra"]}
    flags = [(key.replace("_", "-"), value) for key, value in plain.items() if value is not None]
    return [f"--{key}" if value is True else f"--{key}={value}" for key, value in flags]


def _blamed(why: str) -> str:
    words = why.lower()
    if "account" in words:
        return "launcher.account"
    if "option" in words:
        return "launcher.extra"
    if "node configuration" in words or "gres" in words or "memory" in words or "time limit" in words:
        return "resources"
    return "launcher"
