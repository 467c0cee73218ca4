"""The samplers and pruners that a sweep may name: a table over Optuna's own classes.

A row names the class and those of its arguments that a file may set, each with type, default and range. Optuna's
documentation says what they mean.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from mtlab.config.check import check_config, to_plain
from mtlab.config.options import option
from mtlab.config.schema import UNNAMED
from mtlab.errors import UserError, missing_extra, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

WILCOXON_SEEDS = 5  #: the fewest seeds over which a signed-rank test can be significant: p = 1/32 if all agree

PrunedBy = Literal["nothing", "curve", "seeds"]


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    Args:
        class_name: the class in `optuna.samplers` or `optuna.pruners`.
        schema: a dataclass of the options that a file may set.
        fixed: arguments that are always the same.

    """

    class_name: str
    schema: type[Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)


def _algorithm(
    class_name: str, fixed: Mapping[str, Any] | None = None, **options: tuple[Any, Any, dict[str, Any]]
) -> Any:
    fields = [(name, kind, option(default, "", **limits)) for name, (kind, default, limits) in options.items()]
    return Algorithm(class_name, dataclasses.make_dataclass(class_name, fields, frozen=True, kw_only=True), fixed or {})


def _number(kind: Any, default: float | None, **limits: float) -> tuple[Any, Any, dict[str, Any]]:
    return kind, default, limits


_SEED = _number(int, 0, minimum=0)
_SHARE: Mapping[str, float] = {"minimum": 0.0, "maximum": 1.0}
_SILENT: Mapping[str, Any] = {"warn_independent_sampling": False}

SAMPLERS: Mapping[str, Algorithm] = {
    "tpe": _algorithm(
        "TPESampler",
        seed=_SEED,
        n_startup_trials=_number(int, 10, minimum=0),
        n_ei_candidates=_number(int, 24, minimum=1),
        multivariate=(bool, True, {}),
        group=(bool | None, None, {}),  # None: where some parameters have a condition
        constant_liar=(bool, True, {}),
    ),
    "gp": _algorithm(
        "GPSampler",
        _SILENT,
        seed=_SEED,
        n_startup_trials=_number(int, 10, minimum=0),
        deterministic_objective=(bool, False, {}),
    ),
    "cmaes": _algorithm(
        "CmaEsSampler",
        _SILENT,
        seed=_SEED,
        n_startup_trials=_number(int, 1, minimum=0),
        sigma0=_number(float | None, None, above=0.0),
        popsize=_number(int | None, None, minimum=2),
    ),
    "nsga2": _algorithm(
        "NSGAIISampler",
        seed=_SEED,
        population_size=_number(int, 50, minimum=2),
        mutation_prob=_number(float | None, None, **_SHARE),
        crossover_prob=_number(float, 0.9, **_SHARE),
        swapping_prob=_number(float, 0.5, **_SHARE),
    ),
    "random": _algorithm("RandomSampler", seed=_SEED),
    "qmc": _algorithm(
        "QMCSampler",
        _SILENT,
        seed=_SEED,
        qmc_type=(Literal["sobol", "halton"], "sobol", {}),
        scramble=(bool, True, {}),
    ),
}
PRUNERS: Mapping[str, Algorithm] = {
    "none": _algorithm("NopPruner"),
    "median": _algorithm(
        "MedianPruner",
        n_startup_trials=_number(int, 5, minimum=0),
        n_warmup_steps=_number(int, 0, minimum=0),
        interval_steps=_number(int, 1, minimum=1),
        n_min_trials=_number(int, 1, minimum=1),
    ),
    "hyperband": _algorithm(
        "HyperbandPruner",
        min_resource=_number(int | None, None, minimum=1),  # None: train.eval_every
        max_resource=_number(int | None, None, minimum=1),  # None: the variant's training steps
        reduction_factor=_number(int, 3, minimum=2),
    ),
    "wilcoxon": _algorithm(
        "WilcoxonPruner",
        p_threshold=_number(float, 0.1, above=0.0, below=1.0),
        n_startup_steps=_number(int, 2, minimum=2),
    ),
}


@dataclass(frozen=True)
class _Chosen:
    """A row of the table with its options."""

    name: str
    options: Any

    def to_json(self) -> dict[str, Any]:
        """As plain data, every default written out."""
        return {"name": self.name, **to_plain(self.options)}


class Sampler(_Chosen):
    """A sampler with its options."""

    def make(self, number: int, *, conditional: bool = False, refused: bool = False) -> BaseSampler:
        """Make Optuna's sampler for one trial.

        Its seed comes from that of the sweep and the number of the trial: a sweep that is continued proposes the same
        trials as one that was never interrupted, and two workers never propose the same.

        Args:
            number: of the trial.
            conditional: do some parameters of the space have a condition?
            refused: was the trial before this one refused? `gp` learns from complete trials alone, and would propose
                the same again and again: the trial is drawn at random.

        """
        from optuna import samplers

        row, options = SAMPLERS[self.name], self.options
        seed = trial_seed(options.seed, number)
        if self.name == "gp" and refused:
            return samplers.RandomSampler(seed=seed)
        arguments = {**row.fixed, **vars(options), "seed": seed}
        if self.name == "tpe":
            arguments["group"] = options.multivariate and (conditional if options.group is None else options.group)
        elif self.name == "qmc":  # one sequence for all trials: its position in it is kept in the study
            arguments |= {"seed": options.seed, "independent_sampler": samplers.RandomSampler(seed=seed)}
        sampler: BaseSampler = getattr(samplers, row.class_name)(**arguments)
        return sampler


class Pruner(_Chosen):
    """A pruner with its options."""

    @property
    def by(self) -> PrunedBy:
        """What it compares: nothing, the validation curve of the first seed, or the results of seeds."""
        return "nothing" if self.name == "none" else "seeds" if self.name == "wilcoxon" else "curve"

    def make(self, *, steps: int, eval_every: int) -> BasePruner:
        """Make Optuna's pruner for trials of `steps` training steps, validated every `eval_every`."""
        from optuna import pruners

        arguments = dict(vars(self.options))
        if self.name == "hyperband":
            most = self.options.max_resource or steps
            arguments |= {"max_resource": most, "min_resource": min(self.options.min_resource or eval_every, most)}
        pruner: BasePruner = getattr(pruners, PRUNERS[self.name].class_name)(**arguments)
        return pruner


def trial_seed(seed: int, number: int) -> int:
    """Derive the seed of the sampler for one trial, 32 bits, from that of the sweep and the number of the trial."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest(), "big")


def parse_sampler(given: Any, *, objectives: int) -> Sampler:
    """Read `sampler:`, a name or `{name, seed, options…}`.

    Raises:
        UserError: unknown name or option, a value out of range, a package that is missing, or a sampler that cannot
            take so many objectives.

    """
    name, options = _parse("sampler", SAMPLERS, given, default=UNNAMED["sampler"])
    if name == "cmaes" and find_spec("cmaes") is None:
        raise missing_extra("cmaes", "cmaes", of="the sampler cmaes")
    if name == "cmaes" and objectives > 1:
        raise UserError("cmaes takes one objective; with several use nsga2 or tpe")
    return Sampler(name, options)


def parse_pruner(given: Any, *, objectives: int, seeds: int) -> Pruner:
    """Read `pruner:`, a name or `{name, options…}`.

    Raises:
        UserError: unknown name or option, a value out of range, several objectives, or too few seeds for wilcoxon.

    """
    name, options = _parse("pruner", PRUNERS, "none" if given is None else given)
    if name != "none" and objectives > 1:
        raise UserError(f"{name} takes one objective: with several no trial can be called worse early (use none)")
    if name == "wilcoxon" and seeds < WILCOXON_SEEDS:
        raise UserError(f"wilcoxon compares over seeds and needs at least {WILCOXON_SEEDS}: seeds.n is {seeds}")
    return Pruner(name, options)


def _parse(kind: str, table: Mapping[str, Algorithm], given: Any, default: str | None = None) -> tuple[str, Any]:
    """Find the row that a file names, and check the options given to it."""
    node = {"name": given} if isinstance(given, str) else given
    name = node.get("name", default) if isinstance(node, Mapping) else None
    if not isinstance(name, str):
        raise UserError(f"expected a name or {{name: …, options…}}, found {given!r}")
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}; {nearest(name, table)}", key="name" if node is given else None)
    try:
        return name, check_config(table[name].schema, {key: value for key, value in node.items() if key != "name"})
    except UserError as error:
        if error.problem.startswith("unknown key"):
            advice = error.problem.partition("; ")[2]
            raise UserError(f"{kind} {name!r} has no such option; {advice}", key=error.key) from None
        raise
