"""Tables and tests behind the sections of docs/ on counting and on hard shapes, from the tables of analysis/results.

`python tools/counting.py worth` prints what questions lose without an image level, by family;
`python tools/counting.py bridges` what bridges on three image levels have on validation data;
`python tools/counting.py tests` each row less each other, over seeds alone;
`python tools/counting.py hard` what rows on hard questions have by rate, on validation data; and
`python tools/counting.py longer` what they have after twice as many steps;
`python tools/counting.py hard_tests` rows on hard questions less each other on fresh seeds, over seeds alone, and
`python tools/counting.py again_tests` the same on another draw, and `vit_tests` on the ViT.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from findings import read_table
from mechanisms import METRIC, Scores, by_seed, less

from mtlab.statistics.correction import holm

NAME = "shapes_medium_count"
BRIDGES = "shapes_medium_count_bridges"  #: its runs, and those of two more bridges on the same seeds
FAMILIES = ("count", "colour", "comparison", "existence", "shape", "spatial")
#: The same questions and seeds.
HARD = ("shapes_hard", "shapes_hard_rate", "shapes_hard_others", "shapes_hard_others_rate")
#: Another draw and other seeds.
AGAIN = ("shapes_hard_again", "shapes_hard_again_level", "shapes_hard_twice", "shapes_hard_adaptive")
#: The same draw and seeds, on another processor: `static` has other scores.
KINDS = ("shapes_hard_kinds",)
CONCAT_RATE = ("shapes_hard_concat_rate",)  #: concat-attention there at the other rate
VIT = ("shapes_hard_vit",)  #: another tower and draw
HARD_ROWS = (
    "static",
    "mean",
    "static 3 4 5",
    "bridge 1 3 4",
    "bridge 1 3 4, 2e-3",
    "image level 4",
    "bridge, 2e-3",
    "bridge",
)


def worth() -> Iterator[str]:
    """Write what each family loses without an image level, means over seeds, validation data."""
    lost: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_table(NAME, "worth"):
        if row["modality"] == "image":
            for family in FAMILIES:
                lost[row["variant"], row["level"]][family].append(100 * float(row[f"worth/{family}"]))
    yield f"| without image level | {' | '.join(FAMILIES)} |"
    yield f"|---|{'--:|' * len(FAMILIES)}"
    for (variant, level), of_family in lost.items():
        means = (f"{np.mean(of_family[family]):.1f}".replace("-", "−") for family in FAMILIES)
        yield f"| {variant}, {level} | {' | '.join(means)} |"


def bridges() -> Iterator[str]:
    """Write what bridges on each choice of three image levels have on validation data, best first."""
    runs = read_table("shapes_medium_bridge_levels", "runs")
    scores = ("val/accuracy", "val/accuracy/count", "val/accuracy/spatial", "area")
    yield "| image levels | all | count | spatial | area |"
    yield "|---|--:|--:|--:|--:|"
    for run in sorted(runs, key=lambda run: -float(run["val/accuracy"])):
        levels = run["label"].removeprefix("vision.layers ").strip("[]")
        yield f"| {levels} | {' | '.join(f'{100 * float(run[score]):.1f}' for score in scores)} |"


def hard() -> Iterator[str]:
    """Write what each row on hard questions has by rate, and the families that are learned last: validation data."""
    families = ("count", "comparison", "spatial")
    yield f"| | rate | all | {' | '.join(families)} | area |"
    yield f"|---|--:|--:|{'--:|' * len(families)}--:|"
    for run in read_table("shapes_hard_rates", "runs"):
        scores = ("val/accuracy", *(f"val/accuracy/{family}" for family in families), "area")
        cells = (f"{100 * float(run[score]):.1f}" for score in scores)
        label, _, lower = run["label"].partition(", ")  # the other rate has no words of its own
        yield f"| {label} | {lower or '2e-3'} | {' | '.join(cells)} |"


def longer() -> Iterator[str]:
    """Write what rows on hard questions have after 16,000 steps at either rate: validation data."""
    scores = ("val/accuracy", *(f"val/accuracy/{family}" for family in ("count", "comparison", "spatial")), "area")
    yield "| | rate | all | count | comparison | spatial | area |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    other = {run["label"]: run for run in read_table("shapes_hard_longer_rates", "runs")}
    for run in read_table("shapes_hard_longer", "runs"):  # each at the rate that was better after 8,000 steps
        rates = ("2e-3", "1e-3") if run["label"] in ("bridge", "adaptive") else ("1e-3", "2e-3")
        for rate, each in zip(rates, (run, other[run["label"]]), strict=True):
            yield f"| {run['label']} | {rate} | {' | '.join(f'{100 * float(each[score]):.1f}' for score in scores)} |"


def tests() -> Iterator[str]:
    """Write each row less each other: in counting, in all, without counting, in spatial relations, and in area."""
    of = {metric: by_seed(metric, BRIDGES) for metric in (f"{METRIC}/count", METRIC, f"{METRIC}/spatial", "area")}
    whole, count = of[METRIC], of[f"{METRIC}/count"]  # families are of one size
    of["without counting"] = {label: (6 * whole[label] - count[label]) / 5 for label in whole}
    bridges = ("bridge, 7,320 steps", "bridge, 1e-3", "bridge 1 3 4", "bridge 1 4 5", "bridge")
    labels = ("mean", "static", "static 3 4 5", *bridges)
    for metric, scores in of.items():
        for one, other in combinations(labels, 2):
            yield f"{metric}, {less(scores, one, other)}"


def hard_tests() -> Iterator[str]:
    """Write rows on hard questions less each other: in all, by family, without spatial relations, and in area.

    Then the two steps from the bridge to `static`, and the planned tests of the four tables corrected together.
    """
    of = _scores(HARD)
    yield from _each_less_each(of, HARD_ROWS)
    for metric in (METRIC, "without spatial"):
        scores = of[metric]
        mixed = scores["static 3 4 5"]
        steps = {"mixing": mixed - scores["bridge"], "levels": scores["static"] - mixed}
        yield f"{metric}, {less(steps, 'mixing', 'levels')}"
    yield _together(_planned(HARD[:2]))  # those that were declared before test data were read
    yield _together(_planned(HARD))


def again_tests() -> Iterator[str]:
    """Write rows on hard questions of the other draw less each other: in all, by family, without spatial, in area.

    Then `static` less each of the others over the seeds of both draws, and the planned tests corrected together.
    """
    of = _scores(AGAIN)
    yield from _each_less_each(of, list(of[METRIC]))
    first, second = _scores(HARD)[METRIC], of[METRIC]
    there = {"bridge": "bridge, 2e-3"}  # the same row on the first draw, where it has another label
    both = {
        label: np.concatenate([first[other], second[label]])
        for label in second
        if (other := there.get(label, label)) in first
    }
    for label in list(both)[1:]:
        yield f"both draws, {less(both, 'static', label)}"
    yield _together(_planned(AGAIN[:2]))  # those that were declared together
    yield _together(_planned(AGAIN[2:]))  # and these
    yield _together(_planned((*AGAIN, *KINDS, *CONCAT_RATE)))


def kinds_tests() -> Iterator[str]:
    """Write rows of more kinds on hard questions of that draw less each other; in all, by family and in area.

    Then in all and in area less the earlier runs of `static`.
    """
    before, other = _scores(AGAIN[:1]), _scores(CONCAT_RATE)
    of: dict[str, Scores] = {
        metric: {**scores, "concat-attention, 1e-3": other[metric]["concat-attention"]}
        for metric, scores in _scores(KINDS).items()
    }
    yield from _each_less_each(of, list(of[METRIC]))
    for metric in (METRIC, "area"):
        scores = {**of[metric], "static before": before[metric]["static"]}
        yield from (f"{metric}, {less(scores, label, 'static before')}" for label in of[metric])


def vit_tests() -> Iterator[str]:
    """Write rows on hard questions of the ViT less each other; then the planned tests of counting alone, and of all.

    Counting is corrected for the rows, where the report of families has a correction for families, too.
    """
    of = _scores(VIT)
    yield from _each_less_each(of, list(of[METRIC]))
    counted = [row for row in read_table(VIT[0], "families") if row["family"] == "count" and row["p"]]
    for row, p in zip(counted, holm([float(row["p"]) for row in counted]), strict=True):
        gap, low, high = (100 * float(row[end]) for end in ("difference", "difference_low", "difference_high"))
        yield f"counting, planned, {row['label']} less static: {gap:+.2f} ± {(high - low) / 2:.2f} (p = {p:.2g})"
    yield _together([*_planned(VIT), *counted])


def _each_less_each(of: Mapping[str, Scores], labels: Sequence[str]) -> Iterator[str]:
    for metric, scores in of.items():
        for one, other in combinations(labels, 2):
            yield f"{metric}, {less(scores, one, other)}"


def _planned(studies: Sequence[str]) -> list[dict[str, str]]:
    return [row for study in studies for row in read_table(study, "report") if row["p"]]


def _together(tested: Sequence[Mapping[str, str]]) -> str:
    """Return the p of some rows' tests, corrected together."""
    corrected = holm([float(row["p"]) for row in tested])
    together = zip(tested, corrected, strict=True)
    return f"Holm over {len(corrected)}: " + ", ".join(f"{row['label']} {p:.2g}" for row, p in together)


def _scores(studies: Sequence[str]) -> dict[str, Scores]:
    """Return metric → row → scores by seed: in all, of each family, without spatial relations, and area."""
    families = {family: f"{METRIC}/{family}" for family in FAMILIES}
    of: dict[str, Scores] = {
        metric: {label: found for study in studies for label, found in by_seed(metric, study).items()}
        for metric in (METRIC, *families.values(), "area")
    }
    of["without spatial"] = {
        label: np.mean([of[metric][label] for family, metric in families.items() if family != "spatial"], axis=0)
        for label in of[METRIC]
    }
    return of


if __name__ == "__main__":
    tables = {
        each.__name__: each
        for each in (worth, bridges, hard, longer, tests, hard_tests, again_tests, kinds_tests, vit_tests)
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=tables)
    print("\n".join(tables[parser.parse_args().table]()))
