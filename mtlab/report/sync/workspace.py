"""A saved workspace of Weights & Biases, with panels that compare a study's variants layer by layer."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.errors import UserError, missing_extra
from mtlab.recording.reader import MODALITIES
from mtlab.report.formats.run_again import go_on
from mtlab.report.layer_table import worth_metric
from mtlab.report.sync.run_data import read_step_metrics, run_summary
from mtlab.runs.store import Store, metric_direction
from mtlab.tracking.trackers.weights_and_biases import INIT_SECONDS, STEP, WandbSink, cut_tag, describe_error

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

FILE = "workspace.json"  #: in the study's folder: the address of its workspace
NOTE = (
    "Bars and lines are means over the seeds of a variant, with their range. They are no test: for verdicts, "
    "`mtlab report {study}`."
)
MOST_RUNS = 1000  #: that a panel is asked to show; W&B draws ten unless told


def save_workspace(store: Store, plan: Mapping[str, Any], options: WandbSink.Config) -> str:
    """Save a workspace in W&B, or renew the one that was saved for this study before; return its address.

    Args:
        store: where the runs are: their finished ones say which panels there are.
        plan: the stored plan of the study.
        options: project, and user or team.

    Raises:
        UserError: the package is missing, no run is finished, or W&B refuses or cannot be reached.

    """
    names = finished_metrics(store, plan)
    try:
        import wandb
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise missing_extra("wandb-workspaces", "wandb-workspaces", of="a workspace") from None
    os.environ.setdefault("WANDB_SILENT", "true")
    options = options.filled()
    path = store.study(plan["study"]) / FILE
    known = files.read_json(path) if path.is_file() else {}
    try:
        wandb.setup(wandb.Settings(silent=True, login_timeout=INIT_SECONDS))
        entity = options.entity or wandb.Api(timeout=INIT_SECONDS).default_entity
        where = {"entity": entity, "project": options.project}
        workspace = _find(ws, known, where) or ws.Workspace(name=f"mtlab: {plan['study']}", **where)
        workspace.sections = _sections(plan, names, worth_metric(store, plan))
        workspace.runset_settings = _runs(plan, names)
        workspace.settings = ws.WorkspaceSettings(x_axis=STEP, max_runs=MOST_RUNS)
        workspace.save()
        address = str(workspace.url)
    except Exception as error:  # W&B's own errors are of many kinds
        raise UserError(f"W&B {describe_error(error)}") from None
    files.write_json(path, {"format": 1, **where, "url": address})
    return address


def _find(ws: Any, known: Mapping[str, Any], where: Mapping[str, Any]) -> ws.Workspace | None:
    """Fetch the workspace that was saved before, in the same project; None if there is none any more."""
    if {key: known.get(key) for key in where} != dict(where):
        return None
    try:
        return ws.Workspace.from_url(known["url"])
    except (ValueError, KeyError):  # deleted
        return None


def finished_metrics(store: Store, plan: Mapping[str, Any]) -> list[str]:
    """Return the names of all numbers that finished runs of a study have in W&B, in summary or history, sorted.

    Raises:
        UserError: no run is finished.

    """
    done = [run["id"] for run in plan["runs"] if store.state(run["id"]) == "done"]
    if not done:
        raise UserError(f"no run of {plan['study']!r} is finished yet: `{go_on(plan, store)}`")
    found: set[str] = set()
    for run in done:
        found.update(run_summary(store, run))
        for values in read_step_metrics(store, run).values():
            found.update(values)
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort `level 10` behind `level 9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _sections(plan: Mapping[str, Any], names: Sequence[str], worth_of: str) -> list[ws.Section]:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    verdict, choose = plan["metrics"]["verdict"], plan["metrics"]["choose"]
    result: list[Any] = [
        wr.MarkdownPanel(markdown=f"# {plan['study']}\n\n{plan['why']}\n\n{NOTE.format(study=plan['study'])}"),
        _bars(verdict, [verdict]),
        wr.ScatterPlot(
            title=f"{verdict} and trained parameters",
            x=wr.SummaryMetric("cost/trained_params"),
            y=wr.SummaryMetric(verdict),
        ),
        wr.MediaBrowser(title="The comparison", media_keys=["figures/comparison", "figures/all contributions"]),
    ]
    learning: list[Any] = [_lines(name, [name]) for name in (choose, "train/loss") if name in names]
    for modality in MODALITIES:
        if any(name.startswith(f"contribution/{modality}/") for name in names):
            pattern = f"contribution/{modality}/.*"
            learning.append(_lines(f"{modality}: contribution of each level, mean over layers", [], pattern))
        if f"entropy/{modality}" in names:
            learning.append(_lines(f"{modality}: entropy of contributions", [f"entropy/{modality}"]))
    worth = [
        _bars(f"{modality}: what {worth_of} loses without a level", chosen)
        for modality in MODALITIES
        if (chosen := [name for name in names if name.startswith(f"worth/{modality}/level ")])
    ]
    sections = [
        ("Result", result),
        ("Which layers: contribution of each level to each cross-modal layer", _layer_bars(names)),
        ("What levels are worth", worth),
        ("Learning", learning),
    ]
    return [ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections if panels]


def _layer_bars(names: Sequence[str]) -> list[Any]:
    """Make a panel for each modality and cross-modal layer: contributions, or weights where none were recorded."""
    kind = "contribution" if any(name.startswith("layers/contribution/") for name in names) else "weight"
    by_layer: dict[str, list[str]] = {}
    for name in names:
        if found := re.match(rf"layers/{kind}/(\w+/layer \d+)/", name):
            by_layer.setdefault(found[1], []).append(name)
    return [_bars(f"{where.replace('/', ', ')}: {kind}", chosen) for where, chosen in by_layer.items()]


def _bars(title: str, metrics: Sequence[str]) -> Any:
    """Draw a bar for each variant and metric: the mean over seeds, with their range."""
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=title,
        metrics=list(metrics),
        groupby=wr.Config("variant"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=MOST_RUNS,
        max_bars_to_show=MOST_RUNS,
    )


def _lines(title: str, metrics: Sequence[str], pattern: str | None = None) -> Any:
    """Draw a line for each variant and metric: the mean over seeds, with their range."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=STEP,
        y=list(metrics),
        metric_regex=pattern,
        groupby=wr.Config("variant"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=MOST_RUNS,
    )


def _runs(plan: Mapping[str, Any], names: Sequence[str]) -> ws.RunsetSettings:
    """Show the runs of the study alone, in groups of a variant, the best first."""
    import wandb_workspaces.workspaces as ws

    verdict = plan["metrics"]["verdict"]
    wanted = (verdict, plan["metrics"]["choose"], "cost/trained_params", "cost/seconds")
    shown = [f"summary:{name}" for name in wanted if name in names]
    return ws.RunsetSettings(
        filters=[ws.Tags().isin([cut_tag(plan["study"])])],
        groupby=[ws.Config("variant")],
        order=[ws.Ordering(ws.Summary(verdict), ascending=metric_direction(plan, verdict) == "min")],
        pinned_columns=shown,
    )
