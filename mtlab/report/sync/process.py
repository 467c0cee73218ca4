"""The process that follows a study: apart from the launcher, so that no tracker can hold up or stop training.

The launcher's side is `SyncProcess`. The other side is `sync_until_end`, run by `python -m mtlab.report.sync`. Two pipes connect
them: JSON lines about what was sent come back, and end of input tells the process that the study is over. If the
launcher is killed, that is end of input, too: what is finished is sent, and the process ends.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from mtlab import files
from mtlab.config.check import check_config, to_plain
from mtlab.runs.store import Store
from mtlab.tracking.base import UnreachableError
from mtlab.tracking.settings import TrackingSettings, WandbSettings

POLL = 1.0  #: seconds between two looks at the store
PATIENCE = 180.0  #: seconds without news after which a process that should end is stopped
LOG = "tracking.log"  #: in the study's folder: what a tracker's library says
WORDLESS = 2.0  #: seconds to wait without a word
UNREACHABLE = 75  #: exit code: the server cannot be had, and another process is to go on offline
NICE = 10  #: training goes first


@dataclass
class SyncProgress:
    """What has become of a study so far."""

    done: int = 0  #: finished runs and the comparison that are where they should be
    of: int = 0
    new: int = 0  #: of them, those that were sent just now
    places: tuple[str, ...] = ()  #: where they are: addresses or folders
    offline: bool = False  #: were they written as files?


def tracking_settings(plan: Mapping[str, Any]) -> TrackingSettings:
    """Read what a study's stored plan says about trackers."""
    return check_config(TrackingSettings, plan.get("tracking") or {})


class SyncProcess:
    """The launcher's side of a process that follows a study.

    Args:
        store: where the runs are.
        study: its name.
        keys: where it goes.
        say: is given a line for the user.
        progress: is told what has been sent, whenever that changes.
        nice: how far the process stands behind others that want the CPU.

    """

    def __init__(
        self,
        store: Store,
        study: str,
        keys: TrackingSettings,
        say: Callable[[str], None],
        progress: Callable[[SyncProgress], None] = lambda _: None,
        *,
        nice: int = 0,
    ) -> None:
        self.nice = nice
        self.root = store.root
        self.study = study
        self.keys = keys
        self.say = say
        self.progress = progress
        self.sent = SyncProgress()
        self.heard = time.monotonic()
        self.log = store.study(study) / LOG
        self.log.unlink(missing_ok=True)
        self.over = False
        self.process = self._start()
        self.reader = threading.Thread(target=self._read, name="tracking", daemon=True)
        self.reader.start()

    def __enter__(self) -> SyncProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        finally:
            self.stop()

    def _start(self) -> subprocess.Popen[str]:
        settings = json.dumps(to_plain(self.keys))
        command = [sys.executable, "-m", "mtlab.report.sync", str(self.root), self.study, settings, str(self.nice)]
        with files.explain_disk_errors(self.log), self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def finish(self, *, quiet: bool = False) -> None:
        """Say that the study is over, and wait until all is sent, as long as there is news.

        Args:
            quiet: the user sees by other means what is waited for.

        """
        self.heard, self.over = time.monotonic(), True
        _end_input(self.process)
        try:
            why = self._wait(quiet=quiet)
        except KeyboardInterrupt:
            why = "stopped"
        if why is None and self.process.wait():
            why = f"ended with an error (see {self.log})"
        if why is not None:
            self.stop()
            self.say(f"tracking: {why}; nothing is lost: `mtlab track sync {self.study}` sends what is missing")

    def _wait(self, *, quiet: bool) -> str | None:
        """Wait as long as there is news; return why no more is waited for, if all is not sent."""
        self.reader.join(WORDLESS)
        if self.reader.is_alive() and not quiet:
            sent = f"{self.sent.done} of {self.sent.of} sent, " if self.sent.of else ""
            self.say(f"tracking: {sent}waiting for the rest (Ctrl-C: `mtlab track sync {self.study}` sends it later)")
        while self.reader.is_alive():
            self.reader.join(0.2)
            if time.monotonic() - self.heard > PATIENCE:
                return f"stopped, as nothing was heard for {PATIENCE:.0f} s"
        return None

    def stop(self) -> None:
        """Stop the process and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _read(self) -> None:
        """Take in the news, in a thread of its own; where a server cannot be had, the rest is written offline."""
        self._listen()
        if self.process.wait() == UNREACHABLE and self.keys.wandb is not None:
            self.keys = replace(self.keys, wandb=replace(self.keys.wandb, mode="offline"))
            self.process = self._start()
            if self.over:
                _end_input(self.process)
            self._listen()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard = time.monotonic()
            with suppress(ValueError):
                news = json.loads(line)
                if "say" in news:
                    self.say(str(news["say"]))
                if "sent" in news:
                    self.sent = SyncProgress(**news["sent"])
                    self.progress(self.sent)


def _end_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def sync_until_end(root: Path, study: str, keys: TrackingSettings) -> None:
    """Follow a study until the input ends, then send what is left. The body of the process."""
    from mtlab.tracking.weights_and_biases import WandbSink, wandb_environment

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launcher, which then ends the input
    store = Store.open(root)
    folder, over = store.study(study), threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    with _alone(folder) as alone:
        if not alone:
            _news(say="tracking: another process is sending this study already")
            return
        for leftover in folder.glob(f"{files.TEMPORARY}*-wandb"):
            shutil.rmtree(leftover, ignore_errors=True)
        if keys.wandb is None:
            return
        if importlib.util.find_spec("wandb") is None:
            _news(say="tracking: the package wandb is missing (pip install wandb): nothing is written for W&B")
            return
        os.environ.update(wandb_environment(folder))
        wanted = keys.wandb.filled()
        try:
            _follow(store, study, WandbSink(wanted, folder), wanted, over)
        except UnreachableError as error:
            _news(say=f"{error}: carried on offline; `mtlab track sync {study}` sends it later")
            os._exit(UNREACHABLE)


def _follow(store: Store, study: str, sink: Any, wanted: WandbSettings, over: threading.Event) -> None:
    from mtlab.report.sync.study_sync import StudySync

    follower = StudySync(
        store,
        store.plan(study),
        [sink],
        lambda line: _news(say=line),
        images=wanted.images,
        checkpoints=wanted.checkpoints,
        progress=lambda sent: _news(sent=sent),
    )
    while not over.wait(POLL):
        follower.look()
    follower.end()


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()


def _news(**news: Any) -> None:
    with suppress(BrokenPipeError):  # the launcher was killed
        print(json.dumps(news), flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the study against other processes that would send it; the kernel lets go when this one ends."""
    path = folder / "tracking.lock"
    with files.explain_disk_errors(path), path.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def main(arguments: list[str]) -> None:
    """Run the process: store, study, what `to_plain` gives of the settings as JSON, and how nice it is to others."""
    root, study, keys, nice = arguments
    os.nice(int(nice))
    sync_until_end(Path(root), study, check_config(TrackingSettings, json.loads(keys)))
    sys.stdout.flush()
    os._exit(0)  # a library may wait at exit for a server that does not answer: all that is to be kept has been written
