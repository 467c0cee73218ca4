"""The provenance of a study: configurations of its variants, machines and versions, failures, and its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.load import flatten
from mtlab.report.recordings import StudyRun, study_runs
from mtlab.runs.store import State, Store

#: dotted key in `state.json` → name of the fact
_STATE_FACTS = {
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
    """A run that failed, and its error."""

    run: StudyRun
    kind: str
    error: str
    where: str


@dataclass(frozen=True)
class Provenance:
    """The provenance of a study."""

    configurations: Mapping[str, Mapping[str, Any] | None]  #: by variant; None: never started
    environment: Mapping[str, Counter[str]]  #: fact → value → number of runs
    states: Mapping[StudyRun, State]
    failed: tuple[FailedRun, ...]
    spec: str | None  #: the text of the study's file

    @property
    def differing(self) -> dict[str, dict[str, str]]:
        """Settings in which variants differ, see `differing_settings`."""
        started = {name: flatten(config) for name, config in self.configurations.items() if config is not None}
        return differing_settings(started)


def read_provenance(store: Store, plan: Mapping[str, Any]) -> Provenance:
    """Read the provenance of a study from all its runs, whatever their state."""
    runs, states = study_runs(plan), store.states(plan)
    configurations: dict[str, Mapping[str, Any] | None] = {}
    environment: dict[str, Counter[str]] = {}
    failed = []
    for run in runs:
        config, state = store.config(run.run) or {}, store.run_state(run.run) or {}
        known = config.get("config")
        if configurations.get(run.label) is None:
            configurations[run.label] = known if isinstance(known, Mapping) else None
        for name, value in _environment(config, state).items():
            environment.setdefault(name, Counter())[value] += 1
        if states[run.run] == "failed":
            error = store.failure(run.run) or {}
            failed.append(FailedRun(run, *(str(error.get(name) or "unknown") for name in ("kind", "error", "where"))))
    by_run = {run: states[run.run] for run in runs}
    return Provenance(configurations, environment, by_run, tuple(failed), store.study_text(plan["study"]))


def differing_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings in which configurations differ.

    Args:
        configs: name → flattened configuration.

    Returns:
        Dotted key → name → formatted value, "—" where a configuration has no such setting.

    """
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    table = {
        key: {name: format_setting(config[key]) if key in config else "—" for name, config in configs.items()}
        for key in keys
    }
    return {key: values for key, values in table.items() if len(set(values.values())) > 1}


def format_setting(value: Any) -> str:
    """Format a value of a configuration as YAML on one line.

    >>> format_setting({"name": "static", "weight": None}), format_setting([1, 2]), format_setting(True)
    ('{name: static, weight: null}', '[1, 2]', 'true')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {format_setting(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_setting, value)) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _environment(config: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, str]:
    known = flatten(state)
    found = {name: str(known[key]) for key, name in _STATE_FACTS.items() if known.get(key) is not None}
    if known.get("git.commit"):
        found["commit"] = str(known["git.commit"])[:10] + (" and uncommitted changes" if known.get("git.dirty") else "")
    if config.get("code") and state:
        found["digest of the training code"] = str(config["code"])
    return found
