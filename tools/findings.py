"""What the shipped comparisons found, from the tables of `mtlab report` in analysis/results.

`python tools/findings.py judge_vit` (or `sweep_managers_all`, `judge_cnn_levels`) prints a comparison as a table, best
first, as docs/results-tables.md or docs/results-history.md has it; `python tools/findings.py depth` that of the numbers
of layers. For analysis/predictions.md, `python tools/findings.py search` prints the search for a better manager, and
`python tools/findings.py bridges_cnn` (or `own_maps_vit`, `depth_search`) what was tried at each rate.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from mtlab.studies.expand import expand
from mtlab.studies.spec import StudySpec, read_study
from mtlab.sweeps.spec import read_sweep

ROOT = Path(__file__).parents[1]
HISTORY = "results-history.md#"
MEDIUM = "results-tables.md#on-harder-questions-about-shapes"
BATCHES = "results-tables.md#each-row-at-its-own-batch"
COUNTING = "results-tables.md#whether-managers-count-better"
HARD = "results-tables.md#on-hard-questions-about-shapes"
HARD_VIT = "results-tables.md#hard-shapes-on-a-vit"
#: tables of analysis/results → their page and section in docs/, and where it ran
SHIPPED = {
    "sweep_managers": (HISTORY + "is-a-mixture-of-levels-better-than-one-level-or-one-level-per-bridge", "CNN"),
    "sweep_managers_all_first": (
        HISTORY + "twenty-one-managers-tuned-alike-preliminary",
        "CNN, 21 managers, preliminary",
    ),
    "sweep_managers_all": ("results-tables.md#which-of-all-managers", "CNN, all mechanisms"),
    "managers_all": (HISTORY + "all-managers-and-their-options-at-one-rate", "CNN, options, one rate"),
    "judge_cnn_levels": (HISTORY + "a-manager-of-our-own-and-the-comparison-repeated", "CNN, repeated"),
    "depth": ("results-tables.md#how-many-cross-modal-layers", "CNN, one to six layers"),
    "depth_longer": ("results-tables.md#how-many-cross-modal-layers", "CNN, one layer, 2,000 steps"),
    "depth_parts": ("results-tables.md#how-many-cross-modal-layers", "CNN, one layer, its parts"),
    "depth_vit": ("results-tables.md#how-many-cross-modal-layers", "ViT, one layer"),
    "queries": ("results-tables.md#what-should-a-token-ask-with", "CNN, queries"),
    "queries_rate": ("results-tables.md#what-should-a-token-ask-with", "CNN, queries, half the rate"),
    "judge_vit": ("results-tables.md#the-same-on-a-vit", "ViT"),
    "levels_longer": ("results-tables.md#trained-for-longer", "CNN, trained for longer"),
    "robustness": ("results-tables.md#at-other-rates-and-wider", "CNN, rates and widths"),
    "sweep_managers_shapes": ("results-tables.md#where-one-level-knows-nearly-all", "CNN, shapes"),
    "sweep_shapes_medium": (MEDIUM, "CNN, medium shapes"),
    "sweep_shapes_medium_bridges": (MEDIUM, "CNN, medium shapes, higher rate"),
    "shapes_medium_batches": (BATCHES, "CNN, medium shapes, own batches"),
    "shapes_medium_batches_rate": (BATCHES, "CNN, medium shapes, own batches, lower rate"),
    "shapes_medium_count": (COUNTING, "CNN, medium shapes, counting"),
    "shapes_medium_count_bridges": (COUNTING, "CNN, medium shapes, counting, beside bridges"),
    "shapes_hard": (HARD, "CNN, hard shapes"),
    "shapes_hard_rate": (HARD, "CNN, hard shapes, higher rate"),
    "shapes_hard_others": (HARD, "CNN, hard shapes, other rows"),
    "shapes_hard_others_rate": (HARD, "CNN, hard shapes, other levels, higher rate"),
    "shapes_hard_again": (HARD, "CNN, hard shapes, another draw (bridge at 2e-3, on 1 3 4 at 1e-3)"),
    "shapes_hard_again_level": (HARD, "CNN, hard shapes, another draw, one level"),
    "shapes_hard_twice": (HARD, "CNN, hard shapes, another draw, bridge for twice as long"),
    "shapes_hard_adaptive": (HARD, "CNN, hard shapes, another draw, adaptive"),
    "shapes_hard_kinds": (HARD, "CNN, hard shapes, another draw, more kinds"),
    "shapes_hard_concat_rate": (HARD, "CNN, hard shapes, another draw, concat-attention at half the rate"),
    "shapes_hard_vit": (HARD_VIT, "ViT, hard shapes, own maps (bridges at 2e-3)"),
    "sweep_managers_clipart": ("results-tables.md#clip-art-and-its-names", "CNN, retrieval of clip art"),
    "sweep_clipart_kinds": ("results-tables.md#more-kinds-on-clip-art", "CNN, retrieval of clip art, more kinds"),
    "sweep_clipart_vit": ("results-tables.md#clip-art-on-a-vit", "ViT, retrieval of clip art"),
    "bridge_or_sum": ("results-tables.md#as-many-seeds-as-it-takes", "CNN, until decided"),
    "sweep_cnn_rates": ("results-tables.md#rates-that-three-seeds-chose", "CNN, until decided, rates by three seeds"),
    "sweep_mechanisms_vit": ("results-tables.md#again-on-fresh-pictures", "ViT, all kinds, own maps"),
    "mmfuser_vit_again": ("results-tables.md#again-on-fresh-pictures", "ViT, MMFuser mended"),
    "vit_until_decided": ("results-tables.md#until-decided-on-the-vit", "ViT, until decided, own maps"),
    "vit_rates_judged": ("results-tables.md#until-decided-on-the-vit", "ViT, better rates, own maps"),
    "sweep_managers_vit": (HISTORY + "an-earlier-comparison-on-the-vit-preliminary", "ViT, earlier, preliminary"),
}
#: verdicts about which their section has a doubt
DOUBTFUL = {
    ("shapes_medium_count_bridges", "bridge 1 3 4"): "known before",
    ("shapes_medium_count_bridges", "bridge, 7,320 steps"): "known before",
    ("shapes_hard_twice", "bridge, 32,000 steps"): "by that test alone",
    ("robustness", "image level 3 · rate 1e-2"): "learned one kind of four",
    ("sweep_mechanisms_vit", "DeepStack 2 6 8"): "not to be relied on",
    ("sweep_mechanisms_vit", "MMFuser"): "with a fault",
    ("sweep_clipart_vit", "image level 12"): "not to be relied on",
    ("judge_vit", "image level 6"): "by less",
    ("sweep_managers_vit", "image level 6"): "by less",
}
RATES_VIT = ("vit_until_decided", "vit_until_decided_rate", "vit_rates")  #: the same questions and seeds
LOWER = "0.0025"  #: the lower rate of the search, marked by *
#: searches that are told rate by rate → their table
TRIED = {
    "bridges_cnn": ("bridges_cnn", "runs"),
    "own_maps_vit": ("own_maps_vit", "runs"),
    "depth_search": ("depth_search", "runs"),
    "mechanisms_vit": ("sweep_mechanisms_vit", "trials"),
    "managers_shapes": ("sweep_managers_shapes", "trials"),
    "managers_clipart": ("sweep_managers_clipart", "trials"),
    "clipart_kinds": ("sweep_clipart_kinds", "trials"),
    "clipart_vit": ("sweep_clipart_vit", "trials"),
    "clipart_vit_kinds": ("sweep_clipart_vit_kinds", "trials"),
    "shapes_medium": ("sweep_shapes_medium", "trials"),
    "shapes_medium_bridges": ("sweep_shapes_medium_bridges", "trials"),
    "cnn_rates": ("sweep_cnn_rates", "trials"),
}
VERDICTS = {"better": "better", "worse": "worse", "equivalent": "equivalent", "undecided": "no difference shown"}


class Finding(NamedTuple):
    """One variant of a shipped comparison."""

    place: str  #: where it ran, a link to its section of a page in docs/
    label: str
    row: Mapping[str, str]  #: of the report
    against: str = ""  #: the baseline and its image levels
    doubt: str = ""

    @property
    def accuracy(self) -> str:
        """Mean and 95 % interval, in points."""
        mean, low, high = (float(self.row[column]) for column in ("mean", "low", "high"))
        return f"{100 * mean:.1f} ± {100 * max(mean - low, high - mean):.1f}"

    @property
    def difference(self) -> str:
        """The difference to the baseline and its 95 % interval, not corrected, in points."""
        if self.row["baseline"] == "true":
            return "—"
        half = (float(self.row["difference_high"]) - float(self.row["difference_low"])) / 2
        return f"{100 * float(self.row['difference']):+.1f} ± {100 * half:.1f}".replace("-", "−")

    @property
    def verdict(self) -> str:
        """The outcome of the test and its corrected p."""
        if self.row["baseline"] == "true":
            return "baseline"
        outcome = self.row["outcome"]
        tested = self.row["p_equivalence" if outcome == "equivalent" else "p_corrected"]
        return f"{VERDICTS[outcome]} (p {_p(float(tested))})"

    def cells(self) -> tuple[str, ...]:
        """Write it as cells of a manager's table."""
        compared = "—" if self.row["baseline"] == "true" else self.against
        verdict = f"{self.verdict}: {self.doubt}, see there" if self.doubt else self.verdict
        return self.place, self.label, f"{self.row['n']} seeds", self.accuracy, self.difference, compared, verdict


@cache
def findings() -> Mapping[str, tuple[Finding, ...]]:
    """Collect what was found, manager → its variants, in the order of the comparisons."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for name, (section, where) in SHIPPED.items():
        rows = {row["label"]: row for row in read_table(name, "report")}
        variants = {variant.label: variant.config for variant in expand(_study(name))}
        for label in [each for each in variants if each in rows]:  # others have not finished
            row, config = rows[label], variants[label]
            against = _with_levels(row["compare_to"], variants) if row["compare_to"] else ""
            one = Finding(f"[{where}]({section})", label, row, against, DOUBTFUL.get((name, label), ""))
            found[config["manager"]["name"]].append(one)
    return {name: tuple(those) for name, those in found.items()}


def _with_levels(label: str, variants: Mapping[str, Mapping[str, Any]]) -> str:
    """Name a baseline with the image levels that it reads, unless its label has them."""
    manager, read = variants[label]["manager"], variants[label]["vision"]["layers"]
    if manager["name"] != "bridge":
        return label
    levels = " ".join(map(str, manager["experts"]["image"] if read == "all" else read))
    return label if levels in label else f"{label} ({levels})"


def table(manager: str) -> Iterator[str]:
    """Write what was found of a manager, nothing if no shipped comparison has it."""
    if manager not in findings():
        return
    yield from (
        "Found:",
        "",
        "| where | variant | | accuracy | difference | against | |",
        "|---|---|---|--:|--:|---|---|",
    )
    for finding in findings()[manager]:
        yield f"| {' | '.join(finding.cells())} |"
    yield ""


def comparison(name: str) -> Iterator[str]:
    """Write a comparison as a table, best first: rate, accuracy, difference, area, families, trained parameters."""
    if name.startswith("sweep_"):
        of_cell = {run["run"].partition("/")[0]: float(run["train.lr"]) for run in read_table(name, "trials")}
        rates = {row["label"]: of_cell[row["cell"]] for row in read_table(name, "report")}
    else:
        rates = {variant.label: float(variant.config["train"]["lr"]) for variant in expand(_study(name))}
    by_label: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for run in read_table(name, "runs"):
        by_label[run["label"]].append(run)
    found = [Finding("", row["label"], row) for row in read_table(name, "report")]
    metric = found[0].row["metric"]
    whole = "/".join(metric.split("/")[:2])  # of all families, where one of them is what is compared
    columns = by_label[found[0].label][0]
    of_family = [it for it in columns if it != metric and (it == whole or it.startswith(f"{whole}/"))]
    families = " | ".join("all" if it == whole else it.removeprefix(f"{whole}/") for it in of_family)
    yield f"| variant | rate | {metric} | difference | | area | {families} | params |"
    yield f"|---|--:|--:|--:|---|--:|{'--:|' * len(of_family)}--:|"
    for each in sorted(found, key=lambda each: -float(each.row["mean"])):
        runs = by_label[each.label]
        means = [f"{100 * fmean(float(run[column]) for run in runs):.1f}" for column in of_family]
        cells = [each.label, f"{rates[each.label]:g}", each.accuracy, each.difference, each.verdict]
        cells += [f"{100 * float(each.row['area']):.1f}", *means, f"{float(each.row['trained_params']) / 1e3:.0f} k"]
        yield f"| {' | '.join(cells)} |"


def layers() -> Iterator[str]:
    """Write what bridges and managers have at each number of cross-modal layers, and the bridge less `static`."""
    rows = {row["label"]: row for row in read_table("depth", "report")}
    at: dict[int, dict[str, Finding]] = defaultdict(dict)
    for variant in expand(_study("depth")):
        manager, count = variant.config["manager"]["name"], variant.config["model"]["cross_layers"]
        at[count][manager] = Finding("", variant.labels["manager"], rows[variant.label])
    yield "| layers | levels of the bridge | bridge | static | bridge less static | | adaptive | params of both |"
    yield "|--:|---|--:|--:|--:|---|--:|--:|"
    for count, found in at.items():
        bridge, static = found["bridge"], found["static"]
        cells = [str(count), bridge.label.removeprefix("bridge "), bridge.accuracy, static.accuracy, bridge.difference]
        cells += [bridge.verdict, found["adaptive"].accuracy if "adaptive" in found else "as static"]
        cells += [" k, ".join(f"{float(each.row['trained_params']) / 1e3:.0f}" for each in (bridge, static)) + " k"]
        yield f"| {' | '.join(cells)} |"


def _study(name: str) -> StudySpec:
    short = name.removeprefix("sweep_")
    recipe = next(
        path
        for folder in ("experiments" if short == name else "sweeps", "analysis/candidates")
        if (path := ROOT / folder / f"{short}.yaml").exists()
    )
    return read_study(recipe) if short == name else read_sweep(recipe).study


def read_table(name: str, table: str) -> list[dict[str, str]]:
    """Read a table of a shipped comparison: its `runs`, `trials` or `report`."""
    with (ROOT / f"analysis/results/{name}_{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def search() -> Iterator[str]:
    """Write what each candidate had on validation data at the better of its rates, accuracy and area on each tower."""
    towers = [_searched(tower) for tower in ("cnn", "vit")]
    yield "| | CNN | area | ViT | area |"
    yield "|---|--:|--:|--:|--:|"
    for label in dict.fromkeys(label for found in towers for label in found):
        yield f"| {label} | {' | '.join(found.get(label, ' | ') for found in towers)} |"


def _searched(tower: str) -> dict[str, str]:
    runs: dict[str, dict[str, list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for run in read_table(f"candidates_{tower}", "runs"):
        runs[run["label"]][run["train.lr"]].append(run)
    found = {}
    for label, by_rate in runs.items():
        rate, best = max(by_rate.items(), key=lambda each: _mean(each[1], "val/accuracy"))
        found[label] = f"{_mean(best, 'val/accuracy'):.1f}{'*' * (rate == LOWER)} | {_mean(best, 'area'):.1f}"
    return found


def _mean(runs: Sequence[Mapping[str, str]], column: str) -> float:
    return 100 * fmean(float(run[column]) for run in runs)


def tried(name: str) -> Iterator[str]:
    """Write what each variant of a search has on validation data at each rate, and its area at the best; means."""
    runs: dict[str, dict[float, list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    found = read_table(*TRIED[name])
    score = next(column for column in found[0] if column.startswith("val/"))
    for run in found:
        runs[run["label"].removeprefix("vision.layers ").strip("[]")][float(run["train.lr"])].append(run)
    rates = sorted({rate for of_one in runs.values() for rate in of_one})
    yield f"| | {' | '.join(f'{rate:g}' for rate in rates)} | area at the best |"
    yield f"|---|{'--:|' * len(rates)}--:|"
    for label, by_rate in runs.items():
        means = {rate: _mean(of_one, score) for rate, of_one in by_rate.items()}
        best = max(means, key=lambda rate: round(means[rate], 3))  # of two alike the one that was tried first
        cells = [*(f"{means[rate]:.1f}" for rate in rates), f"{_mean(by_rate[best], 'area'):.1f}"]
        yield f"| {label} | {' | '.join(cells)} |"


def vit_rates() -> Iterator[str]:
    """Write what rows of the ViT have at each rate on draw 11, validation and test, means over the same three seeds."""
    found: dict[str, dict[float, list[Mapping[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for name in RATES_VIT:
        rates = {variant.label: float(variant.config["train"]["lr"]) for variant in expand(_study(name))}
        for run in read_table(name, "runs"):
            if run["seed"] in ("5000", "5001", "5002"):
                found[run["label"]][rates[run["label"]]].append(run)
    rates_of_all = sorted({rate for of_one in found.values() for rate in of_one})
    yield f"| validation, test | {' | '.join(f'{rate:g}' for rate in rates_of_all)} |"
    yield f"|---|{'--:|' * len(rates_of_all)}"
    for label, by_rate in found.items():
        cells = [
            ", ".join(f"{_mean(by_rate[rate], of):.1f}" for of in ("val/accuracy", "test/accuracy"))
            if rate in by_rate
            else ""
            for rate in rates_of_all
        ]
        yield f"| {label} | {' | '.join(cells)} |"


def optimisation() -> Iterator[str]:
    """Write what each way to aggregate layers has with each optimiser, on validation data, and on spatial relations."""
    found: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for run in read_table("optimisation", "runs"):
        manager, setting = run["label"].split(" · ")
        found[setting][manager] = run
    managers = list(dict.fromkeys(manager for of_one in found.values() for manager in of_one))
    yield f"| all, spatial | {' | '.join(managers)} |"
    yield f"|---|{'--:|' * len(managers)}"
    for setting, of_one in found.items():
        cells = [
            ", ".join(f"{100 * float(of_one[manager][f'val/accuracy{of}']):.0f}" for of in ("", "/spatial"))
            for manager in managers
        ]
        yield f"| {setting} | {' | '.join(cells)} |"


def batch_sizes() -> Iterator[str]:
    """Write what each row of a card has on test data with batches of 32 and of 128, seed by seed."""
    card = "testbed_shapes_medium_cnn"
    tables = [read_table(name, "runs") for name in (f"{card}_batch_32", card)]
    steps = [max(int(run["steps"]) for run in table) for table in tables]
    heads = (f"{size}, {many:,} steps | spatial" for size, many in zip((32, 128), steps, strict=True))
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'--:|' * 4}"
    for label in dict.fromkeys(run["label"] for run in tables[0]):
        if label.endswith(" only"):  # blind
            continue
        cells = [
            ", ".join(f"{100 * float(run[f'test/accuracy{of}']):.0f}" for run in table if run["label"] == label)
            for table in tables
            for of in ("", "/spatial")
        ]
        yield f"| {label} | {' | '.join(cells)} |"


def batch_trials() -> Iterator[str]:
    """Write what trials of batches and rates on medium questions about shapes have on validation data."""
    yield "| trial | steps | all | spatial |"
    yield "|---|--:|--:|--:|"
    for run in read_table("shapes_batches", "runs"):
        scores = (f"{100 * float(run[f'val/accuracy{of}']):.0f}" for of in ("", "/spatial"))
        yield f"| {run['label']} | {int(run['steps']):,} | {' | '.join(scores)} |"


def medium_shapes() -> Iterator[str]:
    """Write what rows on medium questions about shapes have by batch and rate: validation data, draw 16, seed 0."""
    smaller = ", batches of 32"
    runs = [(128, run) for run in read_table("sweep_shapes_medium", "trials")]
    runs += [
        (32 if smaller in run["label"] else 128, run) for run in read_table("sweep_shapes_medium_bridges", "trials")
    ]
    runs += [(32, run) for run in read_table("shapes_medium_batch_rates", "runs")]
    found: dict[str, dict[tuple[int, float], str]] = defaultdict(dict)
    for batch, run in runs:
        label = run["label"].partition(" · ")[0].removesuffix(smaller)
        found[label][batch, float(run["train.lr"])] = f"{100 * float(run['val/accuracy']):.1f}"
    settings = sorted(
        {setting for of_one in found.values() for setting in of_one}, key=lambda each: (-each[0], each[1])
    )
    yield f"| batch, rate | {' | '.join(f'{batch}, {rate:g}' for batch, rate in settings)} |"
    yield f"|---|{'--:|' * len(settings)}"
    for label, of_one in found.items():
        yield f"| {label} | {' | '.join(of_one.get(setting, '') for setting in settings)} |"


def main() -> None:
    """Print one of the tables."""
    tables = {
        "search": search,
        "depth": layers,
        "vit_rates": vit_rates,
        "optimisation": optimisation,
        "batch_sizes": batch_sizes,
        "batch_trials": batch_trials,
        "medium_shapes": medium_shapes,
    } | {each: partial(tried, each) for each in TRIED}
    tables |= {each: partial(comparison, each) for each in SHIPPED if each not in tables}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=sorted(tables), metavar="TABLE", help=", ".join(sorted(tables)))
    print("\n".join(tables[parser.parse_args().table]()))


if __name__ == "__main__":
    main()
