"""The model card of an exported run: what it is, how good with how many seeds, and how it is made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtlab import files
from mtlab.config.nodes import own_options
from mtlab.recording import reader
from mtlab.recording.reader import Layers
from mtlab.report import layer_table
from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.figures import render
from mtlab.report.figures.layers.aggregation import plot_heatmaps
from mtlab.report.formats import captions, layer_tables, tables
from mtlab.report.formats.markdown import markdown_table
from mtlab.report.formats.numbers import format_score
from mtlab.report.formats.run_again import run_from_text
from mtlab.report.recordings import StudyRun
from mtlab.report.study_report import build_report
from mtlab.runs.store import Store
from mtlab.towers.loading.licences import WeightsOrigin, hub_licence

CARD = "README.md"
LOADING = """```python
from transformers import BridgeTowerModel, BridgeTowerProcessor

model = BridgeTowerModel.from_pretrained("FOLDER")
processor = BridgeTowerProcessor.from_pretrained("FOLDER")
```
"""
FIGURE = "layers.png"
OTHER_RUN = WeightsOrigin("weights of a checkpoint or of other runs", None)


def write_card(
    store: Store,
    plan: Mapping[str, Any],
    run: str,
    folder: Path,
    *,
    left_out: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> list[str]:
    """Write the card of a run beside its exported weights, with a figure of its layers where one can be rendered.

    Args:
        store: where the run is.
        plan: the stored plan of its study.
        run: its id, `<cell>/s<seed>`.
        folder: of the exported model.
        left_out: heads of the run that the folder lacks.
        notes: where code that loads the folder computes differently.

    Returns:
        The names of the files that were written.

    """
    planned = next(each for each in plan["runs"] if each["id"] == run)
    label = StudyRun(planned["label"], planned["seed"], run)
    layers, figure = reader.read_layers(store.run(run)), False
    if isinstance(layers, Layers):
        try:
            (png,) = render.render_images([(plot_heatmaps({label: layers}), "png")])
            files.write_bytes(folder / FIGURE, png)
            figure = True
        except Exception:  # no browser here, or one that fails, in many ways: the table says the same
            figure = False
    lines = _lines(store, plan, label, figure=figure, left_out=left_out, notes=notes)
    files.write_text(folder / CARD, "\n".join(lines) + "\n")
    return [CARD, *([FIGURE] if figure else [])]


def _lines(
    store: Store,
    plan: Mapping[str, Any],
    run: StudyRun,
    *,
    figure: bool,
    left_out: Sequence[str],
    notes: Sequence[str],
) -> Iterator[str]:
    config, result = (store.config(run.run) or {})["config"], store.result(run.run) or {}
    report = build_report(store, plan)
    origins = _origins(config)
    yield _front_matter(origins)
    yield f"# {plan['study']}: {run.label}, seed {run.seed}\n\n{plan['why']}\n"
    yield from _model(config, result)
    yield LOADING
    if left_out:
        heads = ", ".join(left_out)
        yield f"**Not in this folder**: the run's own head ({heads}), which the results below need.\n"
    yield from (f"- {note}" for note in notes)
    yield "## Results\n\nOf this run, at its best checkpoint:\n\n| metric | |\n|---|---|"
    for name in dict.fromkeys((report.metric, report.choose)):
        if (value := result.get("metrics", {}).get(name)) is not None:
            yield f"| {name} | {format_score(value, name)} |"
    yield f"\nOf its study, {plan['study']}, over seeds. {verdict_sentence(report)}\n"
    yield f"{markdown_table(tables.variant_table(report))}\n\n{captions.table_caption(report)}\n"
    yield from (f"- {note}" for note in report.notes)
    yield "\n## Layers\n\nWhat each level of the towers contributes to the managers' outputs, and is worth.\n"
    if figure:
        yield f"![Contribution of each level to each cross-modal layer, in this run]({FIGURE})\n"
    rows = [row for found in layer_table.study_rows(store, plan).values() for row in found]
    metric = layer_table.worth_metric(store, plan)
    text = layer_tables.render_text(plan["study"], rows, metric, "md").partition("\n")[2].strip()
    yield text.replace("## ", "### ") + "\n"
    yield "## Licences\n\nWhat holds for the weights that training began with holds here too:\n"
    yield from (f"- {part}: {_licence(origin)}" for part, origin in origins.items())
    _, command = run_from_text(plan)
    yield f"\n## Make it again\n\n```sh\n{command}\n```\n"
    yield f"with this file, by mtlab; the run is then `{run.run}`: cell {run.cell}, seed {run.seed}.\n"
    yield f"```yaml\n{(store.study_text(plan['study']) or '').strip()}\n```"


def _model(config: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    yield "| | |\n|---|---|"
    for node in ("task", "data", "manager", "text", "vision"):
        yield f"| {node} | `{config[node]['name']}`{_options(config[node])} |"
    yield f"| cross-modal layers | {config['model']['cross_layers']}, of width {config['model']['width']} |"
    best = f"best at step {result.get('best_step')}"
    yield f"| training | {result.get('steps')} steps of {config['train']['batch']} examples, {best} |\n"


def _front_matter(origins: Mapping[str, WeightsOrigin | None]) -> str:
    """Return what the hub reads."""
    known: dict[str, Any] = hub_licence([origin for origin in origins.values() if origin is not None])
    known |= {"library_name": "transformers", "tags": ["bridgetower", "vision-language", "mtlab"]}
    return f"---\n{yaml.safe_dump(known, sort_keys=False)}---\n"


def _options(node: Mapping[str, Any]) -> str:
    """Return the options of a node in words; of a folder of this machine, its name alone."""
    given = {key: value for key, value in own_options(node).items() if value is not None}
    words = ", ".join(f"{key}: {Path(value).name if _is_local(value) else value}" for key, value in given.items())
    return f" ({words})".replace("|", "\\|") if words else ""


def _origins(config: Mapping[str, Any]) -> dict[str, WeightsOrigin | None]:
    """Return the origins of the weights that training began with, by part of the model."""
    from mtlab.towers.build import KINDS, tower_origin  # imports torch

    found = {f"{kind}, `{config[kind]['name']}`": tower_origin(kind, config[kind]) for kind in KINDS}
    began: dict[str, WeightsOrigin | None] = {"all, `init_from` in the study below": OTHER_RUN}
    return found | (began if config.get("init_from") else {})


def _licence(origin: WeightsOrigin | None) -> str:
    if origin is None:
        return "random weights of its own"
    return f"{origin.source}; licence: {origin.licence or 'unknown, ask its source before you publish this model'}"


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", ".", "~"))
