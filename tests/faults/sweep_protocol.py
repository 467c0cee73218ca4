"""The protocol of a sweep's trial, as states and transitions: launchers propose it, train its runs, and end it.

What protects its runs is `run_protocol`. A launcher may lose its registration and live on: its connection to PostgreSQL
broke, and with it went the sweep's lock; or a network's disk forgot the lock of its file, and of that file alone.
Where the connection broke while the launcher held the sweep's lock, it may still set back a trial that another has just
begun. Two may then work on it: the locks of its runs keep them apart, and the trial is ended once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from model_checker import Explored, explore

from mtlab.sweeps.driver import Driver
from mtlab.sweeps.search import Search
from mtlab.sweeps.storage.journal import JournalSweepStorage


class Launcher(NamedTuple):
    """A launcher's process; one that ended or was killed is started again, under another token."""

    at: str = "begin"
    token: int = 0
    registered: bool = False


class State(NamedTuple):
    """Launchers, and what the storage holds."""

    launchers: tuple[Launcher, ...] = (Launcher(), Launcher())
    lock: int = 0  #: token of who holds the sweep's lock
    trial: str = "none"
    owner: int = 0  #: token that the trial names
    told: int = 0  #: how often it was ended
    tokens: int = 0  #: given so far
    kills: int = 1  #: that may still happen, and stops
    losses: int = 1  #: of a registration, that may still happen
    broken: bool = False  #: was the sweep's lock lost while it was held?
    wrong: str = ""


AT_WORK = ("work", "unlock", "end", "tell")


def moved(state: State, place: int, at: str, **changes: Any) -> State:
    """Return the state in which a launcher has moved on, and other things with it."""
    made, own = list(state.launchers), state.launchers[place]
    made[place] = own._replace(at=at) if at != "begin" else Launcher()
    if at == "begin" and state.lock == own.token:
        changes["lock"] = 0
    return state._replace(launchers=tuple(made), **changes)


def is_gone(state: State, token: int) -> bool:
    """Is a launcher no longer registered?"""
    return not any(each.token == token and each.registered for each in state.launchers)


def launcher_steps(state: State, place: int, one_session: bool, mistake: str) -> Iterator[tuple[str, State]]:
    """Yield what a launcher may do next."""
    own = state.launchers[place]
    ours = state.trial == "running" and state.owner == own.token

    def locked(at: str) -> State:
        """Take the sweep's lock; where the connection is lost that fails, and ends the launcher."""
        ends = one_session and not own.registered
        return moved(state, place, "begin") if ends else moved(state, place, at, lock=own.token)

    def unlocked(at: str, **changes: Any) -> State:
        ends = one_session and not own.registered
        lock = 0 if state.lock == own.token else state.lock
        return moved(state, place, "begin" if ends else at, lock=lock, **changes)

    if own.at == "begin" and state.trial != "done":
        fresh = Launcher("idle", state.tokens + 1, True)
        launchers = tuple(fresh if number == place else each for number, each in enumerate(state.launchers))
        yield "register", state._replace(launchers=launchers, tokens=state.tokens + 1)
    elif own.at == "idle" and not state.lock and state.trial != "done":
        if state.trial != "running" or is_gone(state, state.owner) or ours:
            yield "propose", locked("propose")
    elif own.at == "propose":
        if state.trial == "running" and (is_gone(state, state.owner) or ours):
            yield "release an orphan", state._replace(trial="waiting")
        elif state.trial in ("none", "waiting"):
            early = mistake == "a trial gets its owner after the lock"
            yield "ask", unlocked("own", trial="running") if early else moved(state, place, "own", trial="running")
        else:
            yield "give up", unlocked("idle")
    elif own.at == "own":
        yield "own", moved(state, place, "unlock", owner=own.token)
    elif own.at == "unlock":
        yield "unlock", unlocked("work")
    elif own.at == "work":
        if mistake == "a trial is ended without the lock":
            yield "end", moved(state, place, "tell")
        elif not state.lock:
            yield "end", locked("end")
        if not state.lock and state.kills:
            yield "stop", locked("release")._replace(kills=state.kills - 1)
    elif own.at == "end":
        yield "look whose", moved(state, place, "tell") if ours else unlocked("idle")
    elif own.at == "tell":
        if state.trial == "running":
            yield "tell", unlocked("idle", trial="done", told=state.told + 1)
        else:
            wrong = "crash: Optuna refuses to end this trial" if mistake.startswith("a trial is ended") else ""
            yield "tell", unlocked("idle", wrong=wrong)
    elif own.at == "release":
        anyway = mistake == "a trial is released by whoever had it" and state.trial == "running"
        yield "release", moved(state, place, "begin", trial="waiting" if ours or anyway else state.trial)


def fault_steps(state: State, one_session: bool) -> Iterator[tuple[str, State]]:
    """Yield what may go wrong."""
    for place, own in enumerate(state.launchers):
        if own.at != "begin" and state.kills:
            yield "kill", moved(state, place, "begin", kills=state.kills - 1)
        if own.registered and state.losses:
            launchers = list(state.launchers)
            launchers[place] = own._replace(registered=False)
            after = state._replace(launchers=tuple(launchers), losses=state.losses - 1)
            breaks = one_session and state.lock == own.token
            yield "lose", after._replace(lock=0, broken=True) if breaks else after


#: Transition → the function that does it; faults have none.
CODE = {
    "register": JournalSweepStorage.register_launcher,
    "propose": Driver._propose,
    "release an orphan": Search.release_orphans,
    "ask": Search.propose,
    "own": Search.propose,
    "give up": Search.propose,
    "unlock": JournalSweepStorage.exclusive,
    "end": Search._end,
    "look whose": Search._belongs_to,
    "tell": Search._end,
    "stop": Driver.release,
    "release": Search.release,
    **dict.fromkeys(("kill", "lose")),
}
MISTAKES = (
    "a trial is ended without the lock",
    "a trial is released by whoever had it",
    "a trial gets its owner after the lock",
)


def problem(state: State) -> str:
    """Return what is wrong: no trial may be ended twice, or worked on by two launchers that are registered."""
    working = [each for each in state.launchers if each.registered and each.at in AT_WORK]
    if len(working) > 1 and state.trial == "running" and not state.broken:
        return "doubled: two launchers work on one trial"
    return "doubled: ended twice" if state.told > 1 else state.wrong


def check(*, one_session: bool, kills: int, losses: int, mistake: str = "") -> Explored:
    """Explore two launchers and a trial, until it has ended.

    Args:
        one_session: do registration and lock belong to one connection, as on PostgreSQL?
        kills: of launchers, at most, and stops.
        losses: of a registration, at most.
        mistake: one of `MISTAKES`, to be found.

    """

    def steps(state: State) -> Iterator[tuple[str, State]]:
        for place in range(len(state.launchers)):
            yield from launcher_steps(state, place, one_session, mistake)
        yield from fault_steps(state, one_session)

    return explore(State(kills=kills, losses=losses), steps, problem, lambda state: state.trial == "done")


if __name__ == "__main__":
    for one_session in (True, False):
        found = check(one_session=one_session, kills=2, losses=2)
        storage = "PostgreSQL" if one_session else "journal"
        print(f"2 kills, 2 losses, {storage}: {found.states:,} states, {found.transitions:,} transitions")
        if found.violation:
            sys.exit(f"{found.violation}: {' → '.join(found.trace)}")
