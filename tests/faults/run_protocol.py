"""The protocol of a run, as states and transitions: launchers start workers, which lock, train, finish, are replaced.

Not modelled: what is trained, and files that cannot tear as one worker alone ever reads them. A process that others do
not see beat for long is one that has stalled: how long is left open, which covers all clocks and patiences. `python
tests/faults/run_protocol.py` explores with larger bounds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from model_checker import Explored, explore

from mtlab import files
from mtlab.launch import launcher
from mtlab.runs import lock, results
from mtlab.training import loop, worker

LAUNCH, LOCK = launcher._Launch, lock.RunLock
CHECKPOINTS = 1  #: that a worker writes before it finishes


class Worker(NamedTuple):
    """A worker's process."""

    at: str = "off"
    name: int = 0  #: unique, as the token in its lock
    stalled: bool = False
    judged: int = 0  #: whose lock it has seen unchanged for long
    step: int = 0  #: in memory
    orphan: bool = False  #: its launcher was killed


class Launcher(NamedTuple):
    """A launcher's process; one that was killed is started again."""

    at: str = "look"
    judged: int = 0
    worker: int = 0  #: that it started


class State(NamedTuple):
    """Processes, and what is on the disk."""

    launchers: tuple[Launcher, ...] = (Launcher(), Launcher())
    workers: tuple[Worker, ...] = (Worker(), Worker())
    guard: str = ""  #: who holds it
    lock: int = 0  #: whose it is
    files: int = 0  #: who wrote them last
    step: int = 0  #: of the last checkpoint
    checksums: tuple[int, int] = (0, 0)  #: who wrote them, and whose files they are of
    result: int = 0  #: who wrote it
    started: int = 0  #: workers so far
    kills: int = 1  #: that may still happen
    stalls: int = 1
    wrong: str = ""


def worker_is(state: State, place: int, **changes: Any) -> State:
    """Return the state in which a worker has changed, and other things with it."""
    own = {key: changes.pop(key) for key in list(changes) if key in Worker._fields}
    made = list(state.workers)
    made[place] = Worker() if own.get("at") == "off" else made[place]._replace(**own)
    return state._replace(workers=tuple(made), **changes)


def launcher_is(state: State, place: int, **changes: Any) -> State:
    """Return the state in which a launcher has changed, and other things with it."""
    own = {key: changes.pop(key) for key in list(changes) if key in Launcher._fields}
    made = list(state.launchers)
    made[place] = made[place]._replace(**own)
    return state._replace(launchers=tuple(made), **changes)


def holder(state: State) -> Worker | None:
    """Return the process whose lock it is, if it lives."""
    return next((each for each in state.workers if each.name and each.name == state.lock), None)


def kill_holder(state: State, same_host: bool) -> State:
    """Kill the holder of the lock, which can be done on its own host alone."""
    found = holder(state)
    return worker_is(state, state.workers.index(found), at="off") if same_host and found else state


def seems_dead(state: State) -> bool:
    """May an observer have seen no beat for long?"""
    found = holder(state)
    return bool(state.lock) and (found is None or found.stalled)


def worker_steps(state: State, place: int, same_host: bool, mistake: str) -> Iterator[tuple[str, State]]:
    """Yield what a worker may do next."""
    own, guard = state.workers[place], f"worker {place}"
    ours, free = state.lock == own.name, not state.guard

    def becomes(at: str, **changes: Any) -> State:
        return worker_is(state, place, at=at, **changes)

    if own.at == "enter" and free:
        yield "guard", becomes("observe", guard=guard)
    elif own.at == "observe":
        if not state.lock:
            yield "observe", becomes("place")
        elif seems_dead(state):
            yield "observe", becomes("compare", judged=state.lock)
        else:
            yield "observe", becomes("off", guard="")  # LockedError
    elif own.at == "compare":
        if own.judged != state.lock:
            yield "compare", becomes("enter", guard="", judged=0)
        else:
            yield "compare", worker_is(kill_holder(state, same_host), place, at="unlink", judged=0)
    elif own.at == "unlink":
        yield "unlink", becomes("place", lock=0)
    elif own.at == "place":
        yield "place", becomes("check", lock=own.name, guard="")
    elif own.at == "check":
        done = state.result and mistake != "no look for a result under the lock"
        yield "check", becomes("leave") if done else becomes("train", step=state.step)
    elif own.at == "train":
        yield "train", becomes("finish" if own.step == CHECKPOINTS else "save")
        if own.orphan:
            yield "terminate", becomes("leave")
    elif own.at == "save" and (free or mistake == "a checkpoint without the lock"):
        if mistake == "a checkpoint without the lock":
            yield "fence", becomes("rename")
        else:
            yield "fence", becomes("rename", guard=guard) if ours else becomes("off")
    elif own.at == "rename":
        lost = "lost: a checkpoint replaced a later one" if state.step > own.step else ""
        step, held = own.step + 1, "" if state.guard == guard else state.guard
        after = becomes("train", step=step, files=own.name, guard=held, wrong=lost)
        yield "rename", after._replace(step=step)
    elif own.at == "finish" and (free or "finish" in mistake):
        if mistake == "a finish without the lock":
            yield "fence", becomes("checksums")
        elif mistake == "a finish that looks at the lock without the guard":
            yield "fence", becomes("checksums" if ours else "off")
        else:
            yield "fence", becomes("checksums", guard=guard) if ours else becomes("off")
    elif own.at == "checksums":
        yield "checksums", becomes("result", checksums=(own.name, state.files))
    elif own.at == "result":
        twice = "doubled: two results" if state.result else ""
        held = "" if state.guard == guard else state.guard
        yield "result", becomes("leave", result=own.name, guard=held, wrong=twice)
    elif own.at == "leave" and free:
        yield "leave", becomes("off", lock=0 if ours else state.lock)


def beat_steps(state: State, place: int) -> Iterator[tuple[str, State]]:
    """Yield what the thread of a worker's heartbeat may do."""
    own = state.workers[place]
    if own.at in ("off", "enter", "observe", "compare", "unlink", "place"):
        return
    if state.lock != own.name:
        guard = "" if state.guard == f"worker {place}" else state.guard
        yield "notice", worker_is(state, place, at="off", guard=guard)
        return
    seen = [each for each in (*state.workers, *state.launchers) if each.judged == own.name]
    if seen:  # the bytes that they saw are no longer there
        workers = tuple(each._replace(judged=-1) if each in seen else each for each in state.workers)
        launchers = tuple(each._replace(judged=-1) if each in seen else each for each in state.launchers)
        yield "beat", state._replace(workers=workers, launchers=launchers)


def launcher_steps(state: State, place: int, same_host: bool) -> Iterator[tuple[str, State]]:
    """Yield what a launcher may do next."""
    own, guard = state.launchers[place], f"launcher {place}"
    if own.at == "look":
        if state.result:
            yield "look", launcher_is(state, place, at="done")
        elif not state.lock:
            yield "look", launcher_is(state, place, at="start")
        elif seems_dead(state):
            yield "look", launcher_is(state, place, at="clear", judged=state.lock)
    elif own.at == "clear" and not state.guard:
        if own.judged == state.lock:
            yield "clear", launcher_is(kill_holder(state, same_host), place, at="unlink", judged=0, guard=guard)
        else:
            yield "clear", launcher_is(state, place, at="look", judged=0)
    elif own.at == "unlink":
        yield "unlink", launcher_is(state, place, at="start", lock=0, guard="")
    elif own.at == "start":
        for slot, each in enumerate(state.workers):
            if each.at == "off":
                name = state.started + 1
                begun = launcher_is(state, place, at="follow", worker=name, started=name)
                yield "start", worker_is(begun, slot, at="enter", name=name)
                return
    elif own.at == "follow" and own.worker not in [each.name for each in state.workers]:
        yield "end", launcher_is(state, place, at="look", worker=0)


def fault_steps(state: State) -> Iterator[tuple[str, State]]:
    """Yield what may go wrong."""
    for place, own in enumerate(state.workers):
        if own.at != "off" and state.kills:
            guard = "" if state.guard == f"worker {place}" else state.guard
            yield "kill a worker", worker_is(state, place, at="off", guard=guard, kills=state.kills - 1)
        if own.stalled:
            yield "wake", worker_is(state, place, stalled=False)
        elif own.at != "off" and state.stalls:
            yield "stall", worker_is(state, place, stalled=True, stalls=state.stalls - 1)
    for place, caller in enumerate(state.launchers):
        if caller.at != "done" and state.kills:
            guard = "" if state.guard == f"launcher {place}" else state.guard
            orphans = tuple(
                each._replace(orphan=True) if each.name and each.name == caller.worker else each
                for each in state.workers
            )
            fresh = launcher_is(state, place, **Launcher()._asdict(), guard=guard, kills=state.kills - 1)
            yield "kill a launcher", fresh._replace(workers=orphans)


#: Transition → the function that does it; faults have none.
CODE = {
    "look": LAUNCH._start,
    "clear": lock.LockWatch.clear,
    "start": LAUNCH._begin,
    "end": LAUNCH._finish,
    "guard": lock.guard,
    "observe": lock.LockWatch.observe,
    "compare": lock.LockWatch._clear,
    "unlink": lock.LockWatch._clear,
    "place": LOCK._acquire,
    "check": worker._attempt,
    "train": loop.Loop.train,
    "terminate": LOCK._keep_beating,
    "fence": LOCK.holding,
    "rename": files.atomic_write,
    "checksums": results.manifest.write,
    "result": results.write_result,
    "leave": LOCK.__exit__,
    "notice": LOCK.held,
    "beat": LOCK._write,
    **dict.fromkeys(("kill a worker", "kill a launcher", "stall", "wake")),
}
MISTAKES = {
    "a checkpoint without the lock": "lost",
    "a finish without the lock": "torn",
    "a finish that looks at the lock without the guard": "torn",
    "no look for a result under the lock": "torn",
}


def problem(state: State) -> str:
    """Return what is wrong: nothing may be lost, doubled or torn."""
    if state.result and state.checksums != (state.result, state.files):
        return "torn: files of one worker, checksums or result of another"
    return state.wrong


def check(*, same_host: bool, kills: int, stalls: int, mistake: str = "") -> Explored:
    """Explore two launchers, each with workers, until both know that the run is done.

    Args:
        same_host: can those who take over kill who seems dead?
        kills: at most.
        stalls: at most.
        mistake: one of `MISTAKES`, to be found.

    """

    def steps(state: State) -> Iterator[tuple[str, State]]:
        for place, own in enumerate(state.workers):
            if own.at != "off" and not own.stalled:
                yield from worker_steps(state, place, same_host, mistake)
                yield from beat_steps(state, place)
        for place in range(len(state.launchers)):
            yield from launcher_steps(state, place, same_host)
        yield from fault_steps(state)

    start = State(kills=kills, stalls=stalls)
    return explore(start, steps, problem, lambda state: all(each.at == "done" for each in state.launchers))


if __name__ == "__main__":
    bounds = [(1, 1), (2, 0), (0, 2)]
    for kills, stalls in bounds:
        for same_host in (True, False):
            found = check(same_host=same_host, kills=kills, stalls=stalls)
            place = "one host" if same_host else "two hosts"
            print(
                f"{kills} kills, {stalls} stalls, {place}: {found.states:,} states, {found.transitions:,} transitions"
            )
            if found.violation:
                sys.exit(f"{found.violation}: {' → '.join(found.trace)}")
