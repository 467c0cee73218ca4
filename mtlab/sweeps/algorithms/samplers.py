"""The samplers that a sweep may name: their options, checked, and how each is made anew before every trial.

A sampler's seed is drawn from the sweep's seed and the number of the trial, so that a sweep that is continued, or
repeated by one worker, proposes the same trials; two workers never propose the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from mtlab.config.check import check_config, to_plain
from mtlab.config.options import option
from mtlab.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, kw_only=True)
class Random:
    """Independent random draws."""

    seed: int = option(0, "from which every trial's own seed is drawn", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Tpe(Random):
    """Tree-structured Parzen estimator."""

    n_startup_trials: int = option(10, "trials that are drawn at random before the estimator begins", minimum=0)
    n_ei_candidates: int = option(24, "candidates of which the most promising becomes a trial", minimum=1)
    multivariate: bool = option(True, "model the parameters together")
    group: bool | None = option(
        None, "model parameters by the groups in which they occur; null: where some have a condition"
    )
    constant_liar: bool = option(True, "keep away from trials that still run")


@dataclass(frozen=True, kw_only=True)
class Gp(Random):
    """Gaussian process."""

    n_startup_trials: int = option(10, "trials that are drawn at random before the process is fitted", minimum=0)
    deterministic_objective: bool = option(False, "take results to be free of noise")


@dataclass(frozen=True, kw_only=True)
class Cmaes(Random):
    """Covariance matrix adaptation; choices and parameters with a condition are drawn at random."""

    n_startup_trials: int = option(1, "trials that are drawn at random before the adaptation begins", minimum=0)
    sigma0: float | None = option(None, "initial step, in units of the ranges; null: a sixth", above=0.0)
    popsize: int | None = option(None, "trials of one generation; null: by the number of parameters", minimum=2)


@dataclass(frozen=True, kw_only=True)
class Nsga2(Random):
    """Non-dominated sorting genetic algorithm, for several objectives."""

    population_size: int = option(50, "trials of one generation", minimum=2)
    mutation_prob: float | None = option(None, "null: one over the number of parameters", minimum=0.0, maximum=1.0)
    crossover_prob: float = option(0.9, "how often two parents are mixed", minimum=0.0, maximum=1.0)
    swapping_prob: float = option(0.5, "share of parameters taken from the second parent", minimum=0.0, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class Qmc(Random):
    """Quasi-random points; parameters with a condition are drawn at random."""

    qmc_type: Literal["sobol", "halton"] = option("sobol", "the sequence")
    scramble: bool = option(True, "scramble the sequence by the sweep's seed")


SAMPLERS: Mapping[str, type[Random]] = {
    "tpe": Tpe,
    "gp": Gp,
    "cmaes": Cmaes,
    "nsga2": Nsga2,
    "random": Random,
    "qmc": Qmc,
}


@dataclass(frozen=True)
class Sampler:
    """A sampler with its options."""

    name: str
    options: Random

    def to_json(self) -> dict[str, Any]:
        """As plain data, every default written out."""
        return {"name": self.name, **to_plain(self.options)}

    @property
    def startup(self) -> int:
        """Trials that it draws at random before it learns; 0 for one that never learns."""
        return int(getattr(self.options, "n_startup_trials", getattr(self.options, "population_size", 0)))

    def make(self, number: int, *, conditional: bool = False) -> BaseSampler:
        """Make the sampler of one trial.

        Args:
            number: of the trial.
            conditional: do some parameters of the space have a condition?

        """
        return _MAKERS[self.name](self.options, trial_seed(self.options.seed, number), conditional)


def trial_seed(seed: int, number: int) -> int:
    """Draw the seed of the sampler for one trial, 32 bits, from that of the sweep and the number of the trial."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest(), "big")


def parse_sampler(given: Any, *, objectives: int) -> Sampler:
    """Read `sampler:`, a name or `{name, seed, options…}`.

    Raises:
        UserError: unknown name or option, a value out of range, a package that is missing, or a sampler that cannot
            take so many objectives.

    """
    node = {"name": given} if isinstance(given, str) else given
    if not isinstance(node, Mapping) or not isinstance(node.get("name", "tpe"), str):
        raise UserError(f"expected a name or {{name: …, options…}}, found {given!r}")
    name = node.get("name", "tpe")
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler {name!r}; {nearest(name, SAMPLERS)}", key="name" if node is given else None)
    written = {key: value for key, value in node.items() if key != "name"}
    options = named_options("sampler", name, SAMPLERS[name], written)
    if name == "cmaes" and find_spec("cmaes") is None:
        raise UserError("the package cmaes is missing: pip install 'mtlab[cmaes]'")
    if name == "cmaes" and objectives > 1:
        raise UserError("cmaes takes one objective; with several use nsga2 or tpe")
    return Sampler(name, options)


def named_options(kind: str, name: str, schema: type[Any], written: Mapping[str, Any]) -> Any:
    """Check the options of a named thing; an unknown one is told with the name.

    Raises:
        UserError: unknown option, wrong type, or a value out of range; `key` is the option.

    """
    try:
        return check_config(schema, written)
    except UserError as error:
        if error.problem.startswith("unknown key"):
            advice = error.problem.partition("; ")[2]
            raise UserError(f"{kind} {name!r} has no such option; {advice}", key=error.key) from None
        raise


def _tpe(options: Any, seed: int, conditional: bool) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(
        n_startup_trials=options.n_startup_trials,
        n_ei_candidates=options.n_ei_candidates,
        multivariate=options.multivariate,
        group=options.multivariate and (conditional if options.group is None else options.group),
        constant_liar=options.constant_liar,
        seed=seed,
    )


def _gp(options: Any, seed: int, _: bool) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        seed=seed,
        n_startup_trials=options.n_startup_trials,
        deterministic_objective=options.deterministic_objective,
        warn_independent_sampling=False,
    )


def _cmaes(options: Any, seed: int, _: bool) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        seed=seed,
        n_startup_trials=options.n_startup_trials,
        sigma0=options.sigma0,
        popsize=options.popsize,
        warn_independent_sampling=False,
    )


def _nsga2(options: Any, seed: int, _: bool) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(
        seed=seed,
        population_size=options.population_size,
        mutation_prob=options.mutation_prob,
        crossover_prob=options.crossover_prob,
        swapping_prob=options.swapping_prob,
    )


def _random(_: Any, seed: int, __: bool) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _qmc(options: Any, seed: int, _: bool) -> BaseSampler:
    from optuna.samplers import QMCSampler, RandomSampler

    return QMCSampler(  # one sequence for all trials: its place in it is kept in the study
        qmc_type=options.qmc_type,
        scramble=options.scramble,
        seed=options.seed,
        independent_sampler=RandomSampler(seed=seed),
        warn_independent_sampling=False,
    )


_MAKERS: Mapping[str, Callable[[Any, int, bool], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
    "random": _random,
    "qmc": _qmc,
}
