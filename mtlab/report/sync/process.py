"""The process that sends a study to trackers, apart from the launcher: no tracker can stop or hold up training.

The launcher's side is `SyncProcess`; the process itself is `sync_until_end`, run by `python -m mtlab.report.sync`. Two
pipes connect them: JSON lines about what was sent come back, and end of input tells the process that the study is over.
If the launcher is killed, that is end of input, too: finished runs are sent, and the process ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.check import check_config, to_plain
from mtlab.data.cache.locks import try_lock
from mtlab.runs.store import Store
from mtlab.tracking.base import Sink, UnreachableError
from mtlab.tracking.settings import TrackingSettings, WandbSettings
from mtlab.tracking.weights_and_biases import FOLDER, WandbSink, wandb_environment

POLL = 1.0  #: seconds between two reads of the store
MAX_SILENCE = 180.0  #: seconds without a message after which a process that should end is stopped
LOG = "tracking.log"  #: in the study's folder: output of trackers' libraries
QUIET_SECONDS = 2.0  #: to wait before the user is told
UNREACHABLE = 75  #: exit code: the server cannot be reached, and another process is to go on offline
NICE = 10  #: niceness beside training, which goes first


@dataclass
class SyncProgress:
    """How much of a study has been sent."""

    done: int = 0  #: finished runs that were sent, the comparison counted as one
    of: int = 0
    new: int = 0  #: of them, those sent by this process
    places: tuple[str, ...] = ()  #: addresses or folders of what was sent
    offline: bool = False  #: written as files


def tracking_settings(plan: Mapping[str, Any]) -> TrackingSettings:
    """Return the tracking settings of a stored plan."""
    return check_config(TrackingSettings, plan.get("tracking") or {})


class SyncProcess:
    """The launcher's side of a process that sends a study.

    Args:
        store: where the runs are.
        study: its name.
        settings: the trackers.
        log: prints a line for the user.
        progress: is called with what has been sent, whenever that changes.
        nice: niceness of the process.

    """

    def __init__(
        self,
        store: Store,
        study: str,
        settings: TrackingSettings,
        log: Callable[[str], None],
        progress: Callable[[SyncProgress], None] = lambda _: None,
        *,
        nice: int = 0,
    ) -> None:
        self.nice = nice
        self.root = store.root
        self.study = study
        self.settings = settings
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
        settings = json.dumps(to_plain(self.settings))
        command = [sys.executable, "-m", "mtlab.report.sync", str(self.root), self.study, settings, str(self.nice)]
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
        self.last_message, self.over = time.monotonic(), True
        _end_input(self.process)
        try:
            why = self._wait(quiet=quiet)
        except KeyboardInterrupt:
            why = "stopped"
        if why is None and self.process.wait():
            why = f"ended with an error (see {self.log_file})"
        if why is not None:
            self.stop()
            self.log(f"tracking: {why}; nothing is lost: `mtlab track sync {self.study}` sends what is missing")

    def _wait(self, *, quiet: bool) -> str | None:
        """Wait as long as messages come; return why waiting ended before all was sent, else None."""
        self.reader.join(QUIET_SECONDS)
        if self.reader.is_alive() and not quiet:
            sent = f"{self.sent.done} of {self.sent.of} sent, " if self.sent.of else ""
            self.log(f"tracking: {sent}waiting for the rest (Ctrl-C: `mtlab track sync {self.study}` sends it later)")
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
        """Read messages in a thread; if the server cannot be reached, start another process that writes offline."""
        self._listen()
        if self.process.wait() == UNREACHABLE and self.settings.wandb is not None:
            self.settings = replace(self.settings, wandb=replace(self.settings.wandb, mode="offline"))
            self.process = self._start()
            if self.over:
                _end_input(self.process)
            self._listen()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last_message = time.monotonic()
            with suppress(ValueError):
                message = json.loads(line)
                if "log" in message:
                    self.log(str(message["log"]))
                if "sent" in message:
                    self.sent = SyncProgress(**message["sent"])
                    self.progress(self.sent)


def _end_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def sync_until_end(root: Path, study: str, settings: TrackingSettings) -> None:
    """Send a study until the input ends, then send what is left: the body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the launcher ends the input
    store = Store.open(root)
    folder, over = store.study(study), threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    with try_lock(folder / "tracking.lock") as locked:  # against other processes that send it
        if not locked:
            _send(log="tracking: another process is sending this study already")
            return
        for leftover in folder.glob(f"{files.TEMPORARY}*-wandb"):
            shutil.rmtree(leftover, ignore_errors=True)
        if settings.wandb is None:
            return
        if importlib.util.find_spec("wandb") is None:
            _send(log="tracking: the package wandb is missing (pip install wandb): nothing is written for W&B")
            return
        os.environ.update(wandb_environment(folder))
        wandb = settings.wandb.filled()
        try:
            _sync(store, study, WandbSink(wandb, folder), wandb, over)
        except UnreachableError as error:
            _send(log=f"{error}: carried on offline; once that is mended, `mtlab track sync {study}` sends it")
            os._exit(UNREACHABLE)


def _sync(store: Store, study: str, sink: Sink, settings: WandbSettings, over: threading.Event) -> None:
    from mtlab.report.sync.study_sync import StudySync

    sync = StudySync(
        store,
        store.plan(study),
        [sink],
        lambda line: _send(log=line),
        images=settings.images,
        checkpoints=settings.checkpoints,
        progress=lambda sent: _send(sent=sent),
    )
    while not over.wait(POLL):
        sync.poll()
    sync.finish()


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


def _send(**message: Any) -> None:
    with suppress(BrokenPipeError):  # the launcher was killed
        print(json.dumps(message), flush=True)


def main(arguments: list[str]) -> None:
    """Run the process; its arguments are store, study, settings as JSON (see `to_plain`), and niceness."""
    root, study, settings, nice = arguments
    os.nice(int(nice))
    sync_until_end(Path(root), study, check_config(TrackingSettings, json.loads(settings)))
    sys.stdout.flush()
    os._exit(0)  # a library may wait at exit for a server that does not answer; everything has been written


def sync_while_running(
    store: Store, plan: Mapping[str, Any], log: Callable[[str], None]
) -> AbstractContextManager[SyncProcess | None]:
    """Send a study to its trackers while it runs, if it has any; `log` prints their messages."""
    keys = tracking_settings(plan)
    if keys.wandb is None:
        return nullcontext()
    return SyncProcess(store, plan["study"], keys, log, nice=NICE)


def describe_sync(sync: SyncProcess, store: Store, study: str, *, tried: bool = False) -> str:
    """Describe in a line what was sent, and where it is `tried` to send what is offline now."""
    sent = sync.sent
    counted = f"W&B: {sent.done} of {sent.of} ({sent.new} new), the comparison counted as one"
    if sent.offline:
        later = "" if tried else f"; `mtlab track sync {study}` sends them"
        return f"{counted}, in {store.study(study) / FOLDER}{later}"
    return f"{counted}{f', at {sent.places[0]}' if sent.places else ''}"
