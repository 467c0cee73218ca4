"""The process that sends a study to trackers, apart from the launcher: no tracker can stop or hold up training.

The launcher's side is `SyncProcess`; the process itself is `sync_until_end`, run by `python -m mtlab.report.sync`. Two
pipes connect them: JSON lines about what was sent come back, and end of input tells the process that the study is over.
If the launcher is killed, that is end of input, too: finished runs are sent, and the process ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mtlab import files
from mtlab.data.cache.locks import try_lock
from mtlab.errors import UserError
from mtlab.processes import module_command
from mtlab.runs.shell_command import shell_command
from mtlab.runs.store import Store
from mtlab.tracking.base import TRACKERS, Sink, UnreachableError
from mtlab.tracking.settings import TrackerOptions, plain_tracking, stored_tracking

POLL = 1.0  #: seconds between two reads of the store
MAX_SILENCE = 180.0  #: seconds without a message after which a process that should end is stopped
LOG = "tracking.log"  #: in the study's folder: output of trackers' libraries
QUIET_SECONDS = 2.0  #: to wait before the user is told
UNREACHABLE = 75  #: exit code: a server cannot be reached, and another process is to go on without it
NICE = 10  #: niceness beside training, which goes first


@dataclass
class SyncProgress:
    """How much of a study has been sent."""

    done: int = 0  #: finished runs that were sent, the comparison counted as one
    of: int = 0
    new: int = 0  #: of them, those sent by this process
    sinks: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by name, see `Received`

    @property
    def offline(self) -> bool:
        """Whether anything was written as files that are to be sent later."""
        return any(received["offline"] for received in self.sinks.values())


class SyncProcess:
    """The launcher's side of a process that sends a study.

    Args:
        store: where the runs are.
        study: its name.
        trackers: their options, by name.
        log: prints a line for the user.
        progress: is called with what has been sent, whenever that changes.
        nice: niceness of the process.

    """

    def __init__(
        self,
        store: Store,
        study: str,
        trackers: TrackerOptions,
        log: Callable[[str], None],
        progress: Callable[[SyncProgress], None] = lambda _: None,
        *,
        nice: int = 0,
    ) -> None:
        self.nice = nice
        self.root = store.root
        self.study = study
        self.send_again = shell_command("track", "sync", study, store=store)
        self.trackers = dict(trackers)
        self.unreachable: list[str] = []  #: trackers whose servers cannot be reached
        self.log = log
        self.progress = progress
        self.sent = SyncProgress()
        self.last_message = time.monotonic()
        self.log_file = store.study(study) / LOG
        with files.explain_disk_errors(self.log_file):
            self.log_file.unlink(missing_ok=True)
        self.over = False
        self.process = self._start()
        self.reader = threading.Thread(target=self._read, name="tracking", daemon=True)
        self.reader.start()

    def __enter__(self) -> SyncProcess:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.finish()
        finally:
            self.stop()

    def _start(self) -> subprocess.Popen[str]:
        settings = json.dumps(plain_tracking(self.trackers))
        command = module_command("mtlab.report.sync", str(self.root), self.study, settings, str(self.nice))
        with files.explain_disk_errors(self.log_file), self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                start_new_session=True,
            )

    def finish(self, *, quiet: bool = False) -> None:
        """Tell the process that the study is over, and wait until all is sent, as long as messages come.

        Args:
            quiet: do not tell the user what is waited for.

        """
        if self.over:
            return
        self.last_message, self.over = time.monotonic(), True
        _end_input(self.process)
        try:
            why = self._wait(quiet=quiet)
        except KeyboardInterrupt:
            why = "stopped"
        if why is None and self.process.wait() not in (0, UNREACHABLE):  # the latter was told
            why = f"ended with an error (see {self.log_file})"
        if why is not None:
            self.stop()
            self.log(f"tracking: {why}; nothing is lost: `{self.send_again}` sends what is missing")

    def _wait(self, *, quiet: bool) -> str | None:
        """Wait as long as messages come; return why waiting ended before all was sent, else None."""
        self.reader.join(QUIET_SECONDS)
        if self.reader.is_alive() and not quiet:
            sent = f"{self.sent.done} of {self.sent.of} sent, " if self.sent.of else ""
            self.log(f"tracking: {sent}waiting for the rest (Ctrl-C: `{self.send_again}` sends it later)")
        while self.reader.is_alive():
            self.reader.join(0.2)
            if time.monotonic() - self.last_message > MAX_SILENCE:
                return f"stopped, as no message came for {MAX_SILENCE:.0f} s"
        return None

    def stop(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _read(self) -> None:
        """Read messages in a thread; if a server cannot be reached, start another process that goes on without it."""
        self._listen()
        while self.process.wait() == UNREACHABLE and self._leave_out_unreachable():
            self.process = self._start()
            if self.over:
                _end_input(self.process)
            self._listen()

    def _leave_out_unreachable(self) -> bool:
        """Go on without a server; return whether any tracker is left."""
        name = self.unreachable[-1] if self.unreachable else None
        if name not in self.trackers or self.unreachable.count(name) > 1:
            return False
        options = TRACKERS.get(name).cls.without_server(self.trackers.pop(name))
        if options is not None:
            self.trackers[name] = options
        return bool(self.trackers)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last_message = time.monotonic()
            with suppress(ValueError):
                message = json.loads(line)
                if "log" in message:
                    self.log(str(message["log"]))
                if "unreachable" in message:
                    self.unreachable.append(str(message["unreachable"]))
                if "sent" in message:
                    self.sent = SyncProgress(**message["sent"])
                    self.progress(self.sent)


def _end_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def sync_until_end(root: Path, study: str, given: Mapping[str, Any]) -> None:
    """Send a study until the input ends, then send what is left: the body of the process.

    Args:
        root: of the store.
        study: its name.
        given: trackers and their options, plain.

    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the launcher ends the input
    store = Store.open(root)
    folder, over = store.study(study), threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    with try_lock(folder / "tracking.lock") as locked:  # against other processes that send it
        if not locked:
            _send(log="tracking: another process is sending this study already")
            return
        plan = store.plan(study)
        sinks = _make_sinks(stored_tracking({**plan, "tracking": given}), folder)
        if not sinks:
            return
        try:
            _sync(store, plan, sinks, over)
        except UnreachableError as error:
            sink = sinks[error.tracker]
            goes_on = "left out" if sink.without_server(sink.options) is None else "carried on offline"
            again = shell_command("track", "sync", study, store=store)
            _send(log=f"{error}: {goes_on}; once that is mended, `{again}` sends it")
            _send(unreachable=error.tracker)
            _end(UNREACHABLE)


def _make_sinks(trackers: TrackerOptions, folder: Path) -> dict[str, Sink]:
    """Make the sinks whose packages are installed; of others, a line is logged."""
    sinks = {}
    for name, options in trackers.items():
        cls = TRACKERS.get(name).cls
        if (missing := missing_package(cls)) is not None:
            _send(log=f"tracking: {missing}: nothing is written for {cls.name}")
            continue
        try:
            sink = cls(options, folder)
            sink.prepare()
        except UserError as error:
            _send(log=f"tracking: {error}: nothing is written for {cls.name}")
            continue
        sinks[name] = sink
    return sinks


def missing_package(cls: type[Sink]) -> str | None:
    """Say which package of a tracker is missing, and how it is installed; None if it is there."""
    if not cls.package or importlib.util.find_spec(cls.package) is not None:
        return None
    return f"the package {cls.package} is missing (pip install '{cls.install or cls.package}')"


def _sync(store: Store, plan: dict[str, Any], sinks: Mapping[str, Sink], over: threading.Event) -> None:
    from mtlab.report.sync.study_sync import StudySync

    sync = StudySync(
        store,
        plan,
        list(sinks.values()),
        lambda line: _send(log=line),
        progress=lambda sent: _send(sent=sent),
    )
    while not over.wait(POLL):
        sync.poll()
    sync.finish()


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


_MESSAGES = sys.stdout  #: what the launcher reads; libraries print to stderr, see `main`


def _send(**message: Any) -> None:
    with suppress(BrokenPipeError):  # the launcher was killed
        print(json.dumps(message), file=_MESSAGES, flush=True)


def main(arguments: list[str]) -> None:
    """Run the process; its arguments are store, study, trackers as JSON (see `plain_tracking`), and niceness."""
    root, study, trackers, nice = arguments
    os.nice(int(nice))
    sys.stdout = sys.stderr
    sync_until_end(Path(root), study, json.loads(trackers))
    _end(0)


def _end(code: int) -> NoReturn:
    """End this process at once: a library may wait at exit for a server that does not answer, and all is written."""
    from mtlab.report.figures import render

    render.close_browser()
    _MESSAGES.flush()
    os._exit(code)


def sync_while_running(
    store: Store, plan: Mapping[str, Any], log: Callable[[str], None]
) -> AbstractContextManager[SyncProcess | None]:
    """Send a study to its trackers while it runs, if it has any; `log` prints their messages."""
    trackers = stored_tracking(plan)
    if not trackers:
        return nullcontext()
    return SyncProcess(store, plan["study"], trackers, log, nice=NICE)


def describe_sync(sync: SyncProcess, *, tried: bool = False) -> list[str]:
    """Describe what was sent, a line for each tracker, and where it is `tried` to send what is offline now."""
    lines = []
    for name, received in sync.sent.sinks.items():
        counted = f"{name}: {received['done']} of {sync.sent.of} ({received['new']} new), the comparison counted as one"
        place = f", {received['place']}" if received["place"] else ""
        later = f"; `{sync.send_again}` sends them" if received["offline"] and not tried else ""
        lines.append(f"{counted}{place}{later}")
    return lines
