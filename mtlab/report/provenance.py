"""Where a study's numbers come from: in what its variants differ, what ran them, what went wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.errors import UserError
from mtlab.report.recordings import StudyRun, study_runs
from mtlab.runs.store import State, Store

#: What is told of the machines and programs that made the runs: where it stands in `state.json` → how it is called.
_OF_STATE = {
    "host": "machine",
    "device": "device",
    "threads": "threads",
    "versions.mtlab": "mtlab",
    "versions.torch": "torch",
    "versions.transformers": "transformers",
    "versions.timm": "timm",
    "versions.numpy": "numpy",
    "versions.python": "Python",
}


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, and what it said."""

    source: StudyRun
    kind: str
    error: str
    where: str


@dataclass(frozen=True)
class Provenance:
    """Where a study's numbers come from."""

    configurations: Mapping[str, Mapping[str, Any] | None]  #: variant → its whole configuration; None: never started
    environment: Mapping[str, Counter[str]]  #: what → value → runs
    states: Mapping[StudyRun, State]
    failed: tuple[FailedRun, ...]
    spec: str | None  #: the text of the study's file

    @property
    def differing(self) -> dict[str, dict[str, str]]:
        """Settings in which variants differ: dotted key → variant → value, "—" where it has no such setting."""
        known = {name: flatten(config) for name, config in self.configurations.items() if config is not None}
        keys = dict.fromkeys(key for config in known.values() for key in config)
        table = {key: {name: _written(config.get(key, _ABSENT)) for name, config in known.items()} for key in keys}
        return {key: values for key, values in table.items() if len(set(values.values())) > 1}


def read_provenance(store: Store, plan: Mapping[str, Any]) -> Provenance:
    """Gather what is known of all runs of a study, whatever their state."""
    runs, states = study_runs(plan), store.states(plan)
    configurations: dict[str, Mapping[str, Any] | None] = {}
    environment: dict[str, Counter[str]] = {}
    failed = []
    for source in runs:
        config, state = _read(store.config, source.run), _read(store.run_state, source.run)
        known = config.get("config")
        if configurations.get(source.label) is None:
            configurations[source.label] = known if isinstance(known, Mapping) else None
        for name, value in _environment(config, state).items():
            environment.setdefault(name, Counter())[value] += 1
        if states[source.run] == "failed":
            told = _read(store.failure, source.run)
            failed.append(FailedRun(source, *(str(told.get(name) or "unknown") for name in ("kind", "error", "where"))))
    path = store.study(plan["study"]) / "spec.yaml"
    by_source = {source: states[source.run] for source in runs}
    return Provenance(configurations, environment, by_source, tuple(failed), _text(path))


def flatten(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Write nested settings with dotted keys.

    >>> flat({"a": {"b": 1, "c": {}}, "d": [2]})
    {'a.b': 1, 'a.c': {}, 'd': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{above}{key}"
        found |= flatten(value, f"{path}.") if isinstance(value, Mapping) and value else {path: value}
    return found


_ABSENT = object()


def _written(value: Any) -> str:
    if value is _ABSENT:
        return "—"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _environment(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, str]:
    known = flatten(state)
    found = {name: str(known[key]) for key, name in _OF_STATE.items() if known.get(key) is not None}
    if known.get("git.commit"):
        found["commit"] = str(known["git.commit"])[:10] + (" and uncommitted changes" if known.get("git.dirty") else "")
    if config.get("code") and state:
        found["digest of the training code"] = str(config["code"])
    return found


def _read(read: Any, run: str) -> Mapping[str, Any]:
    """Read a file of a run; one that is damaged is as one that is missing."""
    try:
        return read(run) or {}
    except UserError:
        return {}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
