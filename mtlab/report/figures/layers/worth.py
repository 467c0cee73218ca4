"""Plots weight, contribution and worth of each level: what is lost without it, in all or by family of questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from mtlab.recording.reader import MODALITIES, Array, Kind, Layers, Modality, Worth
from mtlab.report.figures import panels, theme
from mtlab.report.figures.metric_axes import metric_scale
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import StudyRun
from mtlab.units import in_points


def plot_worth(
    found: Mapping[StudyRun, Layers], worths: Mapping[StudyRun, Worth], styles: Mapping[str, Style] | None = None
) -> go.Figure:
    """Plot weight, contribution (means over cross-modal layers) and the loss without it, for each level."""
    title = "What levels are given, and what they are worth"
    worths = {run: worth for run, worth in worths.items() if any(worth.without.values())}
    names = panels.variant_labels([*found, *worths])
    if not worths:
        return theme.empty(
            title,
            "What single levels are worth was not measured. `mtlab intervene RUN` measures it; "
            "`record.interventions: true` does so in runs to come.",
        )
    metric = next(iter(worths.values())).metric
    rows = ["weight", "contribution", _lost(metric)]
    modalities = _removed(worths)
    figure = panels.make_panels(rows, modalities, x="level", shared_y="rows", shared_x="columns")
    scale = metric_scale(metric)

    def bands() -> Iterator[panels.VariantValues]:
        for column, modality in enumerate(modalities, 1):
            for variant in names:
                runs = panels.runs_of(found, variant)
                yield 1, column, variant, *_used(runs, "weights", modality)
                yield 2, column, variant, *_used(runs, "contributions", modality)
                yield 3, column, variant, *_drops(panels.runs_of(worths, variant), modality, scale)

    panels.add_bands(figure, names, styles, bands())
    figure.update_xaxes(dtick=1, tickformat="d", title_text=None)
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(title_text="level", row=3)
    averaging = panels.describe_averaging(found.values())
    used = f"Weight and contribution: means over layers, {averaging}. " if found else ""
    silent = [name for name in names if not panels.runs_of(worths, name)]
    caption = (
        f"{used}{_explain(worths)}{panels.list_without(silent, 'measurements')}"
        f"{panels.explain_removal(found, 'contributions')}"
        f"{panels.hide_beyond_limit(figure, names)}"
    )
    return theme.finish(figure, title, caption, height=560)


def plot_worth_by_family(worths: Mapping[StudyRun, Worth], variant: str) -> go.Figure:
    """Plot what each family of questions loses without each level, for one variant.

    Lines apart: families rely on different levels.
    """
    title = f"{variant}: what each family of questions loses without a level"
    runs = panels.runs_of(worths, variant)
    names = families(runs.values())
    if not names:
        return theme.empty(title, "It was not measured for two families: `mtlab intervene RUN --again` measures it.")
    metric = next(iter(runs.values())).metric
    modalities, scale = _removed(runs), metric_scale(metric)
    figure = panels.make_panels([_lost(metric)], modalities, x="level")

    def bands() -> Iterator[panels.VariantValues]:
        for column, modality in enumerate(modalities, 1):
            for name in names:
                yield 1, column, name, *_drops(runs, modality, scale, name)

    panels.add_bands(figure, names, None, bands())
    figure.update_xaxes(dtick=1, tickformat="d")
    figure.update_yaxes(zeroline=True)
    return theme.finish(figure, title, _explain(runs), height=360)


def families(worths: Iterable[Worth]) -> list[str]:
    """List the families of examples for which the worth of levels was measured."""
    return sorted({name for each in worths for name in each.family_names})


def _removed(worths: Mapping[StudyRun, Worth]) -> list[Modality]:
    return [m for m in MODALITIES if any(each.without.get(m) for each in worths.values())] or list(MODALITIES)


def _lost(metric: str) -> str:
    return f"lost without it{', points' if in_points(metric) else ''}"


def _explain(worths: Mapping[StudyRun, Worth]) -> str:
    how = {
        "weights": "its projected states and weight set to 0 in all layers, the rest renormalised if they sum to one",
        "input": "its projected states set to 0, to 1 in a product, where managers have no weights",
    }
    by = sorted({how for each in worths.values() for how in each.by.values()})
    removed = "; ".join(how[each] for each in by if each in how)
    metric = next(iter(worths.values())).metric
    return (
        f"Lost without it: {metric} (all of validation) less that with the level removed ({removed}). "
        f"{panels.describe_means(worths)}."
    )


def _used(runs: Mapping[StudyRun, Layers], kind: Kind, modality: Modality) -> tuple[Sequence[int], Array | None]:
    """Average over the layers where a level is offered: levels [N], values [runs, N]; None: nothing was recorded."""
    made = []
    for layers in runs.values():
        rows = [layers.experts(kind, modality, depth) for depth in layers.depths(kind, modality)]
        values = panels.stack_runs(rows)
        made.append(None if values is None else _mean_of_known(values))
    values = panels.stack_runs(made)
    if values is None:
        return (), None
    return panels.select_offered(next(iter(runs.values())).experts_levels(modality, values.shape[1]), values)


def _mean_of_known(values: Array) -> Array:
    """Average over layers [K, N], leaving out what is no number; NaN where nothing is one."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, values, 0.0).sum(0) / known.sum(0)
    return mean


def _drops(
    runs: Mapping[StudyRun, Worth], modality: Modality, scale: float, family: str | None = None
) -> tuple[Sequence[int], Array | None]:
    levels = tuple(sorted({level for each in runs.values() for level in each.without.get(modality, {})}))
    drops = [
        [
            each.drop(modality, level) if family is None else each.family_drop(modality, level, family)
            for level in levels
        ]
        for each in runs.values()
    ]
    values = scale * np.array(drops, dtype=float)
    values = values[np.isfinite(values).any(1)] if values.size else values
    return panels.select_offered(levels, values) if values.size else (levels, None)
