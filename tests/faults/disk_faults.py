"""Faults of a real disk below a run: full, read-only, a network's that hangs or vanishes, and a power cut.

The network's file system is bindfs, a process: what it serves hangs while it is stopped, and is gone once it is killed.
The power cut is ext4's own: it answers nothing any more, and what was not flushed is lost.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from patience import wait_for
from stage import Report, Stage

from mtlab.processes import EXIT_DISK

SHUTDOWN, WITHOUT_FLUSHING = 0x8004587D, b"\2\0\0\0"  #: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
SILENT = "the disk does not answer"


@cache
def no_mounting(*programs: str) -> str:
    """Say why no file system can be mounted here, or which program is missing for it; "" if one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root may mount a file system"
    for program in programs:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        with tmpfs(Path("/tmp") / f"mtlab-mount-{os.getpid()}"):
            return ""
    except (OSError, subprocess.CalledProcessError):
        return "no file system can be mounted here"


@contextmanager
def mounted(command: Sequence[object], folder: Path) -> Iterator[Path]:
    """Mount a file system by a command."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def tmpfs(folder: Path, size: str = "2m") -> AbstractContextManager[Path]:
    """Mount a small file system in memory."""
    return mounted(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], folder)


@contextmanager
def served(server: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Mount what a process serves from another folder, as a network's file system."""
    for each in (server, folder):
        each.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(["bindfs", "-f", server, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.ismount(folder))
        yield process
    finally:
        process.kill()  # a stopped one too; whoever waits for it is let go
        process.wait()
        subprocess.run(["umount", "-l", folder], check=True)


def fills(stage: Stage, *, network: bool = False) -> Report:
    """A real file system fills up at a random moment, to the last byte or nearly; perhaps behind a network's."""
    with tmpfs(stage.folder / "disk") as disk:
        if network:
            with served(disk, stage.folder / "mount"):
                return _fill(stage, stage.folder / "mount")
        return _fill(stage, disk)


def _fill(stage: Stage, disk: Path) -> Report:
    move(stage, disk)
    process = stage.start()
    wait_for(lambda: (stage.run / "state.json").exists() or not process.is_alive())
    process.join(stage.moment())
    ballast = disk / "ballast"
    left = stage.dice.choice([0, 0, 4096, 16384])
    free = shutil.disk_usage(disk).free
    with suppress(OSError), ballast.open("wb") as stream:  # the run takes its share meanwhile
        stream.write(bytes(max(0, free - left)))
    process.join()
    injected = process.exitcode != 0
    if injected and (process.exitcode != EXIT_DISK or "the disk is full" not in stage.said()):
        return Report(True, explained=False, note=f"exit {process.exitcode}: {stage.said()[-600:]}")
    ballast.unlink()
    return stage.compare(injected=injected, explained="the disk is full")


def turns_read_only(stage: Stage) -> Report:
    """A run that was begun is gone on with on a real file system that is read-only by now."""
    with tmpfs(stage.folder / "disk") as disk:
        move(stage, disk)
        stage.killed_at_a_random_moment()
        before = {path: path.read_bytes() for path in stage.run.rglob("*") if path.is_file()}
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        code = stage.attempt()
        told = code == (0 if (stage.run / "result.json").exists() else 2) and (code == 0 or "read-only" in stage.said())
        after = {path: path.read_bytes() for path in stage.run.rglob("*") if path.is_file()}
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        if not told or before != after:
            return Report(True, explained=False, note=f"exit {code}: {stage.said()[-600:]}")
        return stage.compare(injected=True)


def hangs(stage: Stage) -> Report:
    """The network's file system hangs for a while: the run waits, and goes on by itself."""
    with served(stage.folder / "server", stage.folder / "mount") as server:
        move(stage, stage.folder / "mount")
        process = stage.start()
        wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())
        process.join(stage.moment())
        injected = process.is_alive()
        server.send_signal(signal.SIGSTOP)
        time.sleep(stage.dice.uniform(0.2, 3))
        server.send_signal(signal.SIGCONT)
        process.join()
        return stage.compare(injected=injected, explained=process.exitcode == 0)


def hangs_until_killed(stage: Stage) -> Report:
    """The network's file system hangs until the run is killed; another server serves the same later."""
    return _served_twice(stage, _hang_then_kill)


def vanishes(stage: Stage) -> Report:
    """The network's file system is gone at a random moment: told, and gone on with once it is there again."""
    return _served_twice(stage, _kill_server)


def _served_twice(stage: Stage, strike: Callable[[Stage, Any, Any], None]) -> Report:
    folders = stage.folder / "server", stage.folder / "mount"
    with served(*folders) as server:
        move(stage, folders[1])
        process = stage.start()
        wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())
        process.join(stage.moment())
        strike(stage, server, process)
        process.join()
    code = process.exitcode
    if code not in (0, EXIT_DISK, -signal.SIGKILL) or (code == EXIT_DISK and SILENT not in stage.said()):
        return Report(True, explained=False, note=f"exit {code}: {stage.said()[-600:]}")
    with served(*folders):
        return stage.compare(injected=code != 0)


def _hang_then_kill(stage: Stage, server: Any, process: Any) -> None:
    server.send_signal(signal.SIGSTOP)
    process.join(stage.dice.uniform(0.2, 2))
    process.kill()
    process.join(1)  # it may be in the middle of a call that ends with the server only
    server.kill()


def _kill_server(_: Stage, server: Any, process: Any) -> None:
    server.kill()


def power_cut(stage: Stage) -> Report:
    """A real disk stops in the middle of all, or just after it, without what was not flushed; it is mounted again."""
    image, disk = stage.folder / "image", stage.folder / "disk"
    with image.open("wb") as stream:
        stream.truncate(2**25)
    subprocess.run(["mkfs.ext4", "-q", "-b", "1024", image], check=True, capture_output=True)
    mount = ["mount", "-o", "loop", image, disk]
    with mounted(mount, disk):
        move(stage, disk)
        subprocess.run(["sync", "-f", disk], check=True)
        process = stage.start()
        wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())
        process.join(None if stage.dice.random() < 0.3 else stage.moment())
        folder = os.open(disk, os.O_RDONLY)
        fcntl.ioctl(folder, SHUTDOWN, WITHOUT_FLUSHING)
        os.close(folder)
        process.join()
    code = process.exitcode
    if code not in (0, EXIT_DISK) or (code and SILENT not in stage.said()):
        return Report(True, explained=False, note=f"exit {code}: {stage.said()[-600:]}")
    with mounted(mount, disk):
        return stage.compare(injected=True)


def move(stage: Stage, disk: Path) -> None:
    """Move the run of a stage to another disk."""
    stage.run = Path(shutil.move(stage.folder / "cells", disk / "cells")) / "cell" / "s0"
