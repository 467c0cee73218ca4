"""The pruners that a sweep may name, and what each of them goes by: the curve of the first seed, or the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mtlab.config.check import to_plain
from mtlab.config.options import option
from mtlab.errors import UserError, nearest
from mtlab.sweeps.algorithms.samplers import named_options

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

WILCOXON_SEEDS = 5  #: the fewest over which a signed-rank test can tell anything: p = 1/32 if all agree

By = Literal["nothing", "curve", "seeds"]


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Every trial runs to its end."""


@dataclass(frozen=True, kw_only=True)
class Median:
    """Stop a trial whose best value so far is below the median of earlier trials at that step."""

    n_startup_trials: int = option(5, "finished trials before any is stopped", minimum=0)
    n_warmup_steps: int = option(0, "training steps before which no trial is stopped", minimum=0)
    interval_steps: int = option(1, "training steps between two looks; no more often than validation", minimum=1)
    n_min_trials: int = option(1, "trials that must have come as far", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Successive halving in several brackets."""

    min_resource: int | None = option(None, "training steps before the first look; null: train.eval_every", minimum=1)
    max_resource: int | None = option(None, "training steps of a whole trial; null: those of the variant", minimum=1)
    reduction_factor: int = option(3, "one in so many goes on at each look", minimum=2)


@dataclass(frozen=True, kw_only=True)
class Wilcoxon:
    """Stop a trial that a signed-rank test over seeds calls worse than the best; its further seeds are not started."""

    p_threshold: float = option(0.1, "level of the test", above=0.0, below=1.0)
    n_startup_steps: int = option(2, "seeds that are always run", minimum=2)


PRUNERS: Mapping[str, type[Any]] = {"none": Nothing, "median": Median, "hyperband": Hyperband, "wilcoxon": Wilcoxon}


@dataclass(frozen=True)
class Pruner:
    """A pruner with its options."""

    name: str
    options: Any

    @property
    def by(self) -> By:
        """Tell what it goes by."""
        return "nothing" if self.name == "none" else "seeds" if self.name == "wilcoxon" else "curve"

    def to_json(self) -> dict[str, Any]:
        """As plain data, every default written out."""
        return {"name": self.name, **to_plain(self.options)}

    def make(self, *, steps: int, eval_every: int) -> BasePruner:
        """Make the pruner for trials of so many training steps, validated every so often."""
        from optuna import pruners

        options = self.options
        if self.name == "median":
            return pruners.MedianPruner(
                options.n_startup_trials,
                options.n_warmup_steps,
                options.interval_steps,
                n_min_trials=options.n_min_trials,
            )
        if self.name == "hyperband":
            most = options.max_resource or steps
            least = min(options.min_resource or eval_every, most)
            return pruners.HyperbandPruner(least, most, options.reduction_factor)
        if self.name == "wilcoxon":
            return pruners.WilcoxonPruner(p_threshold=options.p_threshold, n_startup_steps=options.n_startup_steps)
        return pruners.NopPruner()


def parse_pruner(given: Any, *, objectives: int, seeds: int) -> Pruner:
    """Read `pruner:`, a name or `{name, options…}`.

    Raises:
        UserError: unknown name or option, a value out of range, several objectives, or too few seeds for wilcoxon.

    """
    node = {"name": given or "none"} if given is None or isinstance(given, str) else given
    if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
        raise UserError(f"expected a name or {{name: …, options…}}, found {given!r}")
    name = node["name"]
    if name not in PRUNERS:
        raise UserError(f"unknown pruner {name!r}; {nearest(name, PRUNERS)}", key="name" if node is given else None)
    written = {key: value for key, value in node.items() if key != "name"}
    options = named_options("pruner", name, PRUNERS[name], written)
    if name != "none" and objectives > 1:
        raise UserError(f"{name} takes one objective: with several no trial can be called worse early (use none)")
    if name == "wilcoxon" and seeds < WILCOXON_SEEDS:
        raise UserError(f"wilcoxon compares over seeds and needs at least {WILCOXON_SEEDS}: seeds.n is {seeds}")
    return Pruner(name, options)
