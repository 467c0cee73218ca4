"""Reads a run's recordings of its layers as numpy arrays; what is missing is returned as `Missing`. No torch.

Shapes: R rows of a manager (N offered experts, lowest first, then P previous states), K cross-modal layers, S recorded
steps, E examples, L tokens, H heads. Depths are counted from 0, levels of a tower from 1. Rows of levels that a manager
is not offered (`model.inject.levels`) are NaN.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mtlab import checksums
from mtlab.errors import one_line

Modality = Literal["text", "image"]
Kind = Literal["contributions", "weights"]
Array = npt.NDArray[Any]
K = TypeVar("K")

MODALITIES: tuple[Modality, ...] = ("text", "image")
#: kinds of arrays with a row for each level and previous state
ROWED = frozenset(
    {f"{kind}{what}" for kind in ("contributions", "weights") for what in ("", "_tokens", "_examples")}
    | {"weights_dimensions"}
)
LAYERS, TRACE, TOKENS = "layers.safetensors", "trace.safetensors", "tokens.safetensors"


@dataclass(frozen=True)
class Missing:
    """Something that is not there, and why, in words for people."""

    why: str


@dataclass(frozen=True)
class Layers:
    """Managers' weights and contributions in one run, averaged over examples and their real tokens."""

    values: Mapping[str, Array]  #: as recorded: `contributions/text/0` [R], `cka/text` [K, K], …
    levels: Mapping[Modality, tuple[int, ...]]  #: the offered levels of each tower
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: of the rows, by key
    examples: int | None = None  #: averaged over
    step: int | None = None  #: of training
    first_layer: int = 1  #: the number of the layer at depth 0, as the user counts: 0 in a language model

    def rows(self, kind: Kind, modality: Modality, depth: int, what: str = "") -> Array | None:
        """Return the mean of each row, [R], or its spread over what = "tokens", "examples" or "dimensions"."""
        return self.values.get(f"{kind}{f'_{what}' if what else ''}/{modality}/{depth}")

    def experts(self, kind: Kind, modality: Modality, depth: int, what: str = "") -> Array | None:
        """Return the rows of the offered experts alone, [N]."""
        rows = self.rows(kind, modality, depth, what)
        return None if rows is None else rows[: self.offered(modality, rows)]

    def previous(self, kind: Kind, modality: Modality, depth: int) -> float | None:
        """Return the sum over the previous states; None where there are none."""
        rows = self.rows(kind, modality, depth)
        if rows is None or len(rows) <= (n := self.offered(modality, rows)):
            return None
        return float(rows[n:].sum())

    def by_removal(self, modality: Modality, depth: int) -> bool:
        """Were the contributions measured by removing each state, as the output is no sum?"""
        return f"by_removal/{modality}/{depth}" in self.values

    def one(self, name: str, modality: Modality, depth: int) -> float | None:
        """Return a single number, such as `temperature` or `contributions_entropy`."""
        value = self.values.get(f"{name}/{modality}/{depth}")
        return None if value is None else float(value)

    def depths(self, name: str, modality: Modality) -> tuple[int, ...]:
        """Return the cross-modal layers of which something was recorded, from 0."""
        prefix = f"{name}/{modality}/"
        found = {key.removeprefix(prefix).partition("/")[0] for key in self.values if key.startswith(prefix)}
        return tuple(sorted(int(depth) for depth in found if depth.isdecimal()))

    def places(self, modality: Modality, number: int) -> list[int]:
        """Number the layers of `number` managers as the user counts them; 1, 2, … where that is not known."""
        depths = self.depths("contributions", modality) or self.depths("weights", modality)
        return [depth + self.first_layer for depth in depths] if len(depths) == number else list(range(1, number + 1))

    def over(self, levels: Mapping[Modality, tuple[int, ...]]) -> Layers:
        """Lay the rows out over more levels, ascending; those that these managers are not offered are NaN."""
        values = dict(self.values)
        for name, rows in self.values.items():
            kind, _, where = name.partition("/")
            modality = next((each for each in MODALITIES if where.startswith(f"{each}/")), None)
            if modality is None or kind not in ROWED or self.levels.get(modality) in (None, levels[modality]):
                continue
            own = self.levels[modality]
            if len(rows) < len(own):
                continue
            laid = np.full(len(levels[modality]) + len(rows) - len(own), np.nan, rows.dtype)
            laid[[levels[modality].index(level) for level in own]] = rows[: len(own)]
            laid[len(levels[modality]) :] = rows[len(own) :]
            values[name] = laid
        return replace(self, values=values, levels=levels, labels={})

    def offered(self, modality: Modality, rows: Array) -> int:
        """Count the rows that are experts."""
        known = int(rows.shape[-1])
        return min(len(self.levels.get(modality, ())) or known, known)

    def experts_levels(self, modality: Modality, number: int) -> tuple[int, ...]:
        """Name the levels of `number` experts; 1, 2, … where the file does not."""
        levels = self.levels.get(modality, ())
        return levels if len(levels) == number else tuple(range(1, number + 1))


@dataclass(frozen=True)
class TrainingTrace:
    """`Layers` at some steps of training, on a fixed set of examples."""

    layers: tuple[Layers, ...]  #: one a step, in order
    gradients: Mapping[str, Array]  #: part of the model → norm before clipping, [S]; not a number where none was taken

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of training, [S]."""
        return tuple(layers.step or 0 for layers in self.layers)


@dataclass(frozen=True)
class RecordedExample:
    """One example of which every token was recorded."""

    id: str
    family: str
    text: str
    image: str  #: key for `Dataset.image`
    tokens: tuple[str, ...]  #: one for each real token of the text
    truth: str | None = None
    prediction: str | None = None


@dataclass(frozen=True)
class PatchGrid:
    """How the image tokens lie in the image; the prefix tokens come first and have no place."""

    rows: int
    columns: int
    prefix: int = 0


@dataclass(frozen=True)
class Tokens:
    """Managers' weights and contributions in one run for every token of some examples."""

    values: Mapping[str, Array]  #: `contributions/text/0` [E, R, L], `by_removal/text/0` [E, 1], `mask/text` [E, L]
    levels: Mapping[Modality, tuple[int, ...]]
    examples: tuple[RecordedExample, ...]
    grid: PatchGrid | None = None
    step: int | None = None  #: of training
    first_layer: int = 1  #: as of `Layers`

    def rows(self, kind: Kind, modality: Modality, depth: int, example: int) -> Array | None:
        """Return experts, then previous states, at one example's real tokens, [R, tokens]; None if not recorded."""
        rows = self.values.get(f"{kind}/{modality}/{depth}")
        if rows is None or example >= len(rows):
            return None
        own: Array = rows[example]
        mask = self.values.get(f"mask/{modality}")
        if mask is not None:
            own = own[:, mask[example].astype(bool)]
        return own

    def experts_levels(self, modality: Modality, rows: int) -> tuple[int, ...]:
        """Name the levels of the experts among the rows; 1, 2, … where the file does not."""
        levels = self.levels.get(modality, ())
        return levels if 0 < len(levels) <= rows else tuple(range(1, rows + 1))

    def depths(self, name: str, modality: Modality) -> tuple[int, ...]:
        """Return the cross-modal layers of which something was recorded, from 0."""
        return Layers(self.values, self.levels).depths(name, modality)

    def by_removal(self, modality: Modality, depth: int) -> bool:
        """Were the contributions measured by removing each state, as the output is no sum?"""
        return f"by_removal/{modality}/{depth}" in self.values

    def find(self, example: str) -> int | None:
        """Return the place of an example by its id."""
        return next((place for place, each in enumerate(self.examples) if each.id == example), None)


@dataclass(frozen=True)
class Worth:
    """Validation with an expert removed, or with other weights than those learned."""

    metric: str
    undisturbed: float | None
    by: Mapping[Modality, str]  #: "weights", or "input" where managers have no weights
    uniform: Mapping[Modality, float]
    token_mean: Mapping[Modality, float]
    without: Mapping[Modality, Mapping[int, float]]  #: level → value
    families: Mapping[Modality, Mapping[int, Mapping[str, float]]]  #: level → family of examples → value without it
    undisturbed_families: Mapping[str, float]  #: family → value
    swapped: Mapping[int, Mapping[str, float]]  #: seed whose weights were used → "text", "image", "both" → value

    def drop(self, modality: Modality, level: int) -> float | None:
        """Return how much is lost without a level."""
        value = self.without.get(modality, {}).get(level)
        return None if value is None or self.undisturbed is None else self.undisturbed - value

    @property
    def family_names(self) -> list[str]:
        """The families of examples that were measured; none where there is but one, which is all of them."""
        names = {name for levels in self.families.values() for values in levels.values() for name in values}
        return sorted(names) if len(names) > 1 else []

    def family_drop(self, modality: Modality, level: int, family: str) -> float | None:
        """Return how much a family of examples loses without a level."""
        value = self.families.get(modality, {}).get(level, {}).get(family)
        before = self.undisturbed_families.get(family)
        return None if value is None or before is None else before - value


def read_layers(folder: Path) -> Layers | Missing:
    """Read `layers.safetensors` of a run."""
    read = _read(folder / LAYERS, "which levels it draws on", "layers")
    if isinstance(read, Missing):
        return read
    values, about = read
    return Layers(values, _levels(about), _labels(about), about["examples"], about["step"], about["first_layer"])


def read_trace(folder: Path) -> TrainingTrace | Missing:
    """Read `trace.safetensors` of a run: `Layers` for each recorded step."""
    read = _read(folder / TRACE, "how that evolved over training", "trace")
    if isinstance(read, Missing):
        return read
    values, about = read
    steps = values.pop("steps")
    gradients = {name.partition("/")[2]: values.pop(name) for name in list(values) if name.startswith("gradient/")}
    levels, labels, examples, first = _levels(about), _labels(about), about["examples"], about["first_layer"]
    at = [
        Layers({name: each[place] for name, each in values.items()}, levels, labels, examples, int(step), first)
        for place, step in enumerate(steps)
    ]
    return TrainingTrace(tuple(at), gradients)


def read_tokens(folder: Path) -> Tokens | Missing:
    """Read `tokens.safetensors` of a run."""
    read = _read(folder / TOKENS, "what single words and patches draw on", "tokens")
    if isinstance(read, Missing):
        return read
    values, about = read
    examples = tuple(RecordedExample(**each | {"tokens": tuple(each["tokens"])}) for each in about["examples"])
    grid = None if about["grid"] is None else PatchGrid(**about["grid"])
    return Tokens(values, _levels(about), examples, grid, about["step"], about["first_layer"])


def read_worth(result: Mapping[str, Any] | None, later: Mapping[str, Any] | None = None) -> Worth | Missing:
    """Read the interventions of a run's `result.json`, and those measured later.

    Args:
        result: see `Store.result`; None of a run that is not finished.
        later: what was measured on demand: `interventions.json` of the run's derived folder, if there is one.

    """
    later = later or {}
    measured = later.get("standard") or (result or {}).get("interventions")  # `--again` asks for it anew
    swaps = {name: values for name, values in later.items() if name.startswith("swap/")}
    if measured is None and swaps:  # weights of another seed were measured alone
        measured = {"metric": next(iter(swaps.values()))["metric"]}
    if measured is None:
        if result is None:
            return Missing("what single levels are worth was not measured (the run is not finished)")
        return Missing("what single levels are worth was not measured: `mtlab intervene RUN` does it")
    parts: dict[Modality, Mapping[str, Any]] = {modality: measured.get(modality, {}) for modality in MODALITIES}
    metric, metrics = measured["metric"], (result or {}).get("metrics", {})
    return Worth(
        metric=metric,
        undisturbed=metrics.get(metric),
        by={modality: part["by"] for modality, part in parts.items() if "by" in part},
        uniform=_measured({modality: part.get("uniform") for modality, part in parts.items()}),
        token_mean=_measured({modality: part.get("token_mean") for modality, part in parts.items()}),
        without={
            modality: _measured({int(level): value for level, value in part.get("without", {}).items()})
            for modality, part in parts.items()
        },
        families={
            modality: {int(level): _measured(values) for level, values in part.get("families", {}).items()}
            for modality, part in parts.items()
        },
        undisturbed_families={
            name.removeprefix(f"{metric}/"): value for name, value in metrics.items() if name.startswith(f"{metric}/")
        },
        swapped={
            int(name.removeprefix("swap/")): _measured({each: values[each] for each in (*MODALITIES, "both")})
            for name, values in swaps.items()
        },
    )


def _read(path: Path, what: str, option: str) -> tuple[dict[str, Array], dict[str, Any]] | Missing:
    """Read arrays and our metadata; `record.OPTION` is what makes a run write them."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return Missing(f"{what} was not recorded (`record.{option}` was off)")
    try:
        intact = checksums.verify(path)
        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
            values = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no iterator
    except (SafetensorError, OSError) as error:
        return Missing(f"{path}: cannot be read ({one_line(error)}): cut off, or damaged")
    if intact is None:
        return Missing(f"{path}: was not written by mtlab")
    if not intact:
        return Missing(f"{path}: has changed since it was written (its checksum differs)")
    return values, json.loads(metadata[checksums.METADATA_KEY])


def _levels(about: Mapping[str, Any]) -> dict[Modality, tuple[int, ...]]:
    return {modality: tuple(levels) for modality, levels in about["levels"].items()}


def _labels(about: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(names) for key, names in about["labels"].items()}


def _measured(values: Mapping[K, float | None]) -> dict[K, float]:
    return {name: value for name, value in values.items() if value is not None}
