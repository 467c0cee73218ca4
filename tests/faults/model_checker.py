"""A model checker: explores all states that a protocol can reach, in every order in which its processes may act."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Explored:
    """What an exploration has found."""

    states: int
    transitions: int  #: from a state to another
    taken: frozenset[str]  #: names of the transitions that happened at all
    violation: str = ""  #: the first one found, "" if there is none
    trace: tuple[str, ...] = ()  #: the shortest way to it


def explore(
    start: S,
    steps: Callable[[S], Iterable[tuple[str, S]]],
    problem: Callable[[S], str],
    is_done: Callable[[S], bool],
) -> Explored:
    """Explore breadth first; stop at the first violation, which has the shortest trace.

    Args:
        start: the first state.
        steps: what may happen in a state, by any process or fault: name of the transition, the state after it.
        problem: what is wrong in a state, "" if nothing is.
        is_done: is the work finished in this state? It must be reachable from every state: else work is lost.

    """
    before: dict[S, tuple[S, str] | None] = {start: None}
    backward: dict[S, list[S]] = {}
    queue, taken, number = [start], set[str](), 0
    for state in queue:
        if wrong := problem(state):
            return Explored(len(before), number, frozenset(taken), wrong, _trace(before, state))
        for name, after in steps(state):
            number += 1
            taken.add(name)
            backward.setdefault(after, []).append(state)
            if after not in before:
                before[after] = (state, name)
                queue.append(after)
    alive = [state for state in queue if is_done(state)]
    saved = set(alive)
    for state in alive:
        fresh = [earlier for earlier in backward.get(state, []) if earlier not in saved]
        saved.update(fresh)
        alive += dict.fromkeys(fresh)
    stuck = next((state for state in queue if state not in saved), None)
    if stuck is not None:
        return Explored(len(before), number, frozenset(taken), "lost: can never be finished", _trace(before, stuck))
    return Explored(len(before), number, frozenset(taken))


def _trace(before: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    names: list[str] = []
    while (step := before[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
