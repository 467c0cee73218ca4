"""Tests behind docs/results-tables.md that no report makes, from the tables of analysis/results.

`python tools/mechanisms.py` prints, of all managers on the CNN, the test of all rows that were predicted to be alike at
once, whole and by family, the order of rows on two draws of pictures, accuracy by cost, and a pair that was looked at
afterwards; of those on the ViT, the same test, and each row less the bridge with the error that all share, and by
family where seeds ran until decided; of those on questions about shapes, each row less the bridge in counting, and
without spatial relations; managers of all levels less those of the bridge's own; areas at one rate; which share of a
variance is of test questions; in retrieval of clip art, managers less the top level alone; what a rate
costs that one seed chooses; how far a single level of the ViT is from bridges in its testbed's card; and rows less the
bridge, by family, that were trained for longer, and where their best step was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from findings import read_table
from numpy.typing import NDArray
from scipy import stats

from mtlab.statistics.correction import holm
from mtlab.statistics.paired import paired_t_examples

ALIKE = (
    *("bridge", "mean", "static", "static over all states", "adaptive", "sparse", "cross-attention"),
    *("concat-attention", "attention residual", "depth-weighted", "spread sum", "residual static"),
)
APART = ("last", "image level 3", "image level 3 in each layer", "MMFuser")  #: they lack a kind of question
ALIKE_VIT = (
    *("bridge", "mean", "static", "adaptive", "cross-attention", "depth-weighted", "attention residual"),
    *("residual adaptive", "scalar mix", "Dense Connector"),
)  #: on the ViT; cross-attention and Dense Connector were not predicted to be
CHANGED = ("bridge", "bridge, cross-attention", "IGVA", "Dense Connector", "Dense Connector, sparse")  #: since draw 1
METRIC = "test/accuracy"
PICTURES = 1200  #: of 4,800 test questions of `layered`, four a picture
ALL_LEVELS = ("static", "adaptive")
FAMILIES = ("letter", "object", "shade", "stripes")  #: of `layered`
Scores = Mapping[str, NDArray[np.float64]]


def by_seed(metric: str = METRIC, name: str = "sweep_managers_all") -> Scores:
    """Return label → a metric over seeds, in points."""
    found: dict[str, dict[str, float]] = {}
    for run in read_table(name, "runs"):
        found.setdefault(run["label"], {})[run["seed"]] = 100 * float(run[metric])
    return {label: np.array([of[seed] for seed in sorted(of)]) for label, of in found.items()}


def means(name: str) -> dict[str, float]:
    """Return label → mean accuracy of a shipped comparison."""
    return {row["label"]: float(row["mean"]) for row in read_table(name, "report")}


class AtOnce(NamedTuple):
    """An analysis of variance of several rows, with seeds as blocks."""

    ratio: float  #: F
    degrees: tuple[int, int]
    p: float
    noise: float  #: variance of a run within rows, points²


def at_once(scores: Scores, labels: Sequence[str] = ALIKE) -> AtOnce:
    """Test rows at once, with seeds as blocks."""
    values = np.stack([scores[label] for label in labels])
    rows, seeds = values.shape
    between, within = rows - 1, (rows - 1) * (seeds - 1)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    noise = float((rest**2).sum() / within)
    ratio = seeds * float(values.mean(1).var(ddof=1)) / noise
    return AtOnce(ratio, (between, within), float(stats.f.sf(ratio, between, within)), noise)


def spread(test: AtOnce, seeds: int) -> tuple[float, float, float]:
    """Estimate the standard deviation of the rows' true means, taken as random, with its 95 % interval."""
    quantiles = stats.f.ppf([0.975, 0.025], *test.degrees)
    middle, low, high = (float(np.sqrt(max(0.0, test.ratio / by - 1) * test.noise / seeds)) for by in (1.0, *quantiles))
    return middle, low, high


def on_the_vit() -> None:
    """Print the test of rows on the ViT, and each less the bridge with the error that all share."""
    scores = by_seed(name="sweep_mechanisms_vit")
    bridge, seeds = scores["bridge"], len(scores["bridge"])
    test = at_once(scores, ALIKE_VIT)
    print(f"ViT: {len(ALIKE_VIT)} rows at once: F{test.degrees} = {test.ratio:.2f}, p = {test.p:.2g}")
    error = (2 * test.noise / seeds) ** 0.5
    gaps = {label: float((scores[label] - bridge).mean()) for label in ALIKE_VIT[1:]}
    corrected = holm([2 * stats.t.sf(abs(gap) / error, test.degrees[1]) for gap in gaps.values()])
    half = stats.t.ppf(0.975, test.degrees[1]) * error
    for (label, gap), p in zip(gaps.items(), corrected, strict=True):
        print(f"  {label} less the bridge, shared error: {gap:+.2f} ± {half:.2f}, p after Holm {p:.2g}")
    for metric in (METRIC, f"{METRIC}/letter", f"{METRIC}/object"):
        found = by_seed(metric, "sweep_mechanisms_vit")
        gap = np.mean([found[label] for label in ALIKE_VIT[1:]], axis=0) - found["bridge"]
        print(f"  their mean less the bridge, {metric}, paired t over seeds: {_paired(gap)}")


def on_shapes(name: str, difficulty: str) -> None:
    """Print each row less the bridge on questions about shapes, by family and on validation data, and less level 4."""
    families = ("colour", "comparison", "count", "existence", "shape")  # of one size
    of = {family: by_seed(f"{METRIC}/{family}", name) for family in families}
    for label in of["count"]:
        if label != "bridge":
            gaps = {family: of[family][label] - of[family]["bridge"] for family in families}
            for family, gap in {**gaps, "without spatial": np.mean([*gaps.values()], axis=0)}.items():
                print(f"{difficulty} shapes, {label} less the bridge, {family}: {_paired(gap)}")
    validation = by_seed("val/accuracy", name)
    for label in sorted(validation.keys() - {"bridge"}):
        gap = validation[label] - validation["bridge"]
        print(f"{difficulty} shapes, {label} less the bridge, validation: {_paired(gap)}")
    whole = by_seed(name=name)
    for label in sorted(whole.keys() - {"image level 4"}):
        print(f"{difficulty} shapes, {label} less image level 4: {_paired(whole[label] - whole['image level 4'])}")


def with_smaller_batches() -> None:
    """Print what batches of 32 give the bridge on medium questions about shapes, and `static` on its levels."""
    name = "sweep_shapes_medium_bridges"
    for metric in (METRIC, f"{METRIC}/spatial", f"{METRIC}/count", "area"):
        found = by_seed(metric, name)
        for label in ("bridge, batches of 32", "static 3 4 5"):
            for other in ("bridge", "static"):
                print(f"second search, {metric}, {label} less {other}: {_paired(found[label] - found[other])}")


def at_own_batches() -> None:
    """Print rows on medium questions about shapes at their own batches, less the bridge and `adaptive` less others."""
    name = "shapes_medium_batches"
    on_shapes(name, "own batches,")
    for row in read_table(name, "families"):
        if row["outcome"] in {"better", "worse"}:  # corrected for all rows and families
            gap, p = 100 * float(row["difference"]), float(row["p_corrected"])
            print(f"own batches, {row['family']}: {row['label']} {row['outcome']}, {gap:+.2f}, p = {p:.2g} after Holm")
    for metric in (f"{METRIC}/spatial", "area"):
        for one in ("mean", "static", "adaptive", "image level 4"):
            print(f"own batches, {metric}, {less(by_seed(metric, name), one, 'bridge')}")
    for metric in (METRIC, f"{METRIC}/count", "area"):
        scores = by_seed(metric, name)
        for other in ("mean", "static"):
            print(f"own batches, {metric}, {less(scores, 'adaptive', other)}")
        print(f"own batches, {metric}, {less(by_seed(metric, f'{name}_rate'), 'adaptive, 1e-3', 'adaptive')}")


def on_own_levels() -> None:
    """Print managers of all levels less those of levels 1, 3, 4, and other pairs, on the seeds that both have."""
    pairs = (("static", "static 1 3 4"), ("adaptive", "adaptive 1 3 4"), ("adaptive 1 3 4", "static 1 3 4"))
    told = [(METRIC, *pair) for pair in (*pairs, ("adaptive", "static"))]
    told += [(f"{METRIC}{family}", it, "bridge 1 3 4") for family in ("", "/letter", "/object") for it in ALL_LEVELS]
    for metric, one, other in (*told, ("area", "adaptive", "static")):
        print(f"until decided, {metric}, {less(by_seed(metric, 'bridge_or_sum'), one, other)}")


def on_the_vit_until_decided() -> None:
    """Print each mixture of six levels of the ViT less the bridge, by family, and `adaptive` less `static`."""
    basic = ("static", "adaptive", "mean")
    among = (("adaptive", "static"), ("adaptive", "mean"), *(("residual adaptive", label) for label in basic))
    for metric in (METRIC, f"{METRIC}/letter", f"{METRIC}/object", "area"):
        scores = by_seed(metric, "vit_until_decided")
        pairs = [(label, "bridge") for label in (*basic, "residual adaptive")]
        for one, other in (*pairs, *among):
            print(f"ViT until decided, {metric}, {less(scores, one, other)}")
    chosen, judged, bridge = (by_seed(name=name) for name in ("vit_rates", "vit_rates_judged", "vit_until_decided"))
    for label in ALL_LEVELS:
        gap = np.concatenate([chosen[label], judged[label]]) - bridge["bridge"]
        print(f"ViT, {label} at 5e-3 less the bridge at 2.5e-3: {_paired(gap)}, first three {gap[:3].mean():+.2f}")


def on_clip_art() -> None:
    """Print rows of several levels less a level alone that ran at the same rate, in retrieval of clip art."""
    scores = by_seed("test/recall", "sweep_managers_clipart")
    for label in ("mean", "static", "adaptive"):
        print(f"clip art, {label} less image level 5: {_paired(scores[label] - scores['image level 5'])}")
    scores = by_seed("test/recall", "sweep_clipart_vit")
    for level in ("image level 12", "image level 10"):
        for label in ("bridge 4 8 12", "static", "adaptive"):
            print(f"clip art on the ViT, {label} less {level}: {_paired(scores[label] - scores[level])}")
    scores = by_seed("test/recall", "sweep_clipart_kinds")
    chosen = by_seed("val/recall", "sweep_clipart_kinds")
    for label in ("static", "static, frozen", "cross-attention", "concat-attention", "sparse"):
        validation, test = (each[label] - each["bridge"] for each in (chosen, scores))
        print(f"more kinds on clip art, validation data, {label} less bridge: {_paired(validation)}")
        print(f"more kinds on clip art, validation less test data, {label} less bridge: {_paired(validation - test)}")
        if label != "static":
            print(f"more kinds on clip art, {label} less static: {_paired(scores[label] - scores['static'])}")
    first = by_seed("val/recall", "sweep_managers_clipart")
    print(f"clip art, validation data, static less bridge: {_paired(first['static'] - first['bridge'])}")
    areas = by_seed("area", "sweep_managers_clipart")
    print(f"clip art, area, adaptive less static: {_paired(areas['adaptive'] - areas['static'])}")


def on_rates_of_three_seeds() -> None:
    """Print managers of all levels less those of levels 1, 3, 4, each at a rate that three seeds chose, and others."""
    letter, object_ = f"{METRIC}/letter", f"{METRIC}/object"
    rows = ("bridge 1 3 5", "mean", *ALL_LEVELS)
    pairs = [(metric, it, "bridge") for metric in (METRIC, letter, object_) for it in rows]
    pairs += [(letter, "static 1 3 4", "bridge"), (object_, "static 1 3 4", "bridge")]
    pairs += [(METRIC, it, f"{it} 1 3 4") for it in ALL_LEVELS]
    pairs += [(METRIC, "adaptive", "static"), (METRIC, "adaptive 1 3 4", "static 1 3 4")]
    pairs += [(METRIC, it, "bridge 1 3 5") for it in ("mean", *ALL_LEVELS)]
    for metric, one, other in (*pairs, ("area", "adaptive", "static")):
        print(f"rates of three seeds, {metric}, {less(by_seed(metric, 'sweep_cnn_rates'), one, other)}")


def on_single_levels_of_the_vit() -> None:
    """Print how far level 6 is from bridges in the card, what an oracle has, and what initial weights cost."""
    card, level = "testbed_layered_vit", "image 6"
    scores, family = by_seed(METRIC, card), {each: by_seed(f"{METRIC}/{each}", card) for each in FAMILIES}
    for one, other in (
        *(("bridge 4 6 8", level), ("mean", level), ("bridge 4 6 8", "bridge 6 8 10")),
        *((f"text {at}", "image 8") for at in range(1, 6)),
    ):
        print(f"ViT, card, {less(scores, one, other)}")
    for each, of_family in family.items():
        print(f"ViT, card, {each}, {less(of_family, 'bridge 4 6 8', level)}")
    best = {"letter": "text 4", "object": level, "shade": "image 2", "stripes": "image 2"}  # the card's, by validation
    oracle = np.mean([family[each][label] for each, label in best.items()], 0)
    print(f"ViT, card, bridge 4 6 8 less an oracle: {_paired(scores['bridge 4 6 8'] - oracle)}")
    for name, metric in (("accuracy", METRIC), ("area", "area")):
        weights = by_seed(metric, "vit_initial_weights")
        gap = weights["init_std 1/√width"] - weights["init_std 1/√inputs"]
        print(f"ViT, level 6, initial weights of engines 1 to 3 less today's, {name}: {_paired(gap)}")
    shared = by_seed(METRIC, "judge_vit")
    print(f"ViT, draw 2, {less(shared, 'bridge', 'image level 6')}")


def on_levels_trained_longer() -> None:
    """Print each row less the bridge by family, and other pairs, after longer training."""
    name, bridge = "levels_longer", "bridge 1 3 4"
    scores = by_seed(METRIC, name)
    for one, other in (("image level 3 in each layer", "image level 3"), ("adaptive", "static")):
        print(f"longer, {less(scores, one, other)}")
    print(f"draw 5, {less(by_seed(), 'image level 3 in each layer', 'image level 3')}")
    for family in FAMILIES:
        of_family = by_seed(f"{METRIC}/{family}", name)
        for label in scores:
            if label != bridge:
                print(f"longer, {family}, {less(of_family, label, bridge)}")


def best_steps() -> None:
    """Print in how many runs the best evaluation was before the last, of the longer training and of level 3 before."""
    level = "image level 3"
    for name, label in (
        *(("levels_longer", ""), ("levels_longer", level), ("levels_longer", f"{level} in each layer")),
        *(("bridge_or_sum", level), ("sweep_managers_all", level)),
    ):
        runs = [run for run in read_table(name, "runs") if label in ("", run["label"])]
        best = [int(run["best_step"]) for run in runs]
        before = sum(step < int(run["steps"]) for step, run in zip(best, runs, strict=True))
        print(
            f"best before the end, {name}, {label or 'all'}: {before} of {len(runs)}, steps {min(best)} to {max(best)}"
        )


def rates_of_one_seed() -> None:
    """Print what a rate costs that one seed chooses: on the other two, less the rate that is best on them."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for run in read_table("sweep_cnn_rates", "trials"):
        found.setdefault(run["label"], {}).setdefault(run["train.lr"], {})[run["seed"]] = 100 * float(
            run["val/accuracy"]
        )
    for offered in (("0.00125", "0.0025", "0.005", "0.01"), ("0.0025", "0.005")):
        costs = []
        for by_rate in found.values():
            for seed in by_rate[offered[0]]:
                chosen = max(offered, key=lambda rate: by_rate[rate][seed])
                on_others = {
                    rate: np.mean([value for other, value in by_rate[rate].items() if other != seed])
                    for rate in offered
                }
                costs.append(max(on_others.values()) - on_others[chosen])
        told = f"{np.mean(costs):.2f} in the mean, {max(costs):.2f} at most"
        print(f"CNN, a rate of {len(offered)} that one seed chooses costs {told}, {len(costs)} choices")


def of_the_top_levels() -> None:
    """Print `static` over all levels less the same over the top ones."""
    scores = by_seed(name="experts")
    for label in ("static, top 2", "static, top 3"):
        print(f"experts, static, all less {label}: {_paired(scores['static, all'] - scores[label])}")


def areas_at_one_rate() -> None:
    """Print the area of `static` less the bridge's where both ran at one rate with three cross-modal layers."""
    for name, static, bridge in (
        ("depth", "static · cross_layers 3", "bridge 1 3 4 · cross_layers 3"),
        ("depth_longer", "static, three layers", "bridge 1 3 4, three layers"),
    ):
        areas = by_seed("area", name)
        print(f"{name}, area, static less bridge 1 3 4: {_paired(areas[static] - areas[bridge])}")


def variance_of_questions() -> None:
    """Print which share of a difference's variance is that of test questions, where seeds ran until decided."""
    scores = by_seed(name="bridge_or_sum")
    for row in read_table("bridge_or_sum", "report"):
        if row["label"] in ALL_LEVELS:
            gap = scores[row["label"]] - scores["bridge 1 3 4"]
            found = paired_t_examples(gap, None)
            assert found.interval is not None, "seeds differ"
            seeds = ((found.interval[1] - found.interval[0]) / 2) ** 2  # t² S, see `mtlab.statistics.paired`
            whole = (50 * (float(row["difference_high"]) - float(row["difference_low"]))) ** 2
            questions = (whole - seeds) / stats.t.ppf(0.975, PICTURES - 1) ** 2
            share = questions / (questions + seeds / stats.t.ppf(0.975, len(gap) - 1) ** 2)
            print(f"until decided, {row['label']}: {share:.0%} of the variance is of test questions")


def less(scores: Scores, one: str, other: str) -> str:
    """Test a row less another on the seeds that both have: mean, 95 % interval, p, over seeds alone."""
    both = min(len(scores[one]), len(scores[other]))  # rows that are decided sooner have fewer, the first ones
    return f"{one} less {other}: {_paired(scores[one][:both] - scores[other][:both])}, {both} seeds"


def _paired(gap: NDArray[np.float64]) -> str:
    found = paired_t_examples(gap, None)
    if found.interval is None:
        return f"{found.difference:+.2f}, the same in each seed"
    low, high = found.interval
    return f"{found.difference:+.2f} ± {(high - low) / 2:.2f} (p = {found.p:.2g})"


def main() -> None:
    """Print the tests."""
    scores = by_seed()
    test = at_once(scores)
    middle, low, high = spread(test, len(scores["bridge"]))
    print(f"{len(ALIKE)} rows at once: F = {test.ratio:.2f}, p = {test.p:.2g}")
    print(f"spread of their true means: {middle:.2f} ({low:.2f} to {high:.2f})")
    corrected = holm([at_once(by_seed(f"{METRIC}/{family}")).p for family in FAMILIES])
    print("by family, after Holm:", ", ".join(f"{f} {p:.2g}" for f, p in zip(FAMILIES, corrected, strict=True)))
    now, before = means("sweep_managers_all"), means("sweep_managers_all_first")
    both = [label for label in now if label in before and label not in (*APART, *CHANGED)]
    order = stats.spearmanr([now[label] for label in both], [before[label] for label in both])
    print(f"order of {len(both)} rows on two draws: Spearman {order.statistic:.2f}, p = {order.pvalue:.2g}")
    upper = [row for row in read_table("sweep_managers_all", "report") if row["label"] not in APART]
    flops = [float(row["training_flops"]) for row in upper]
    order = stats.spearmanr(flops, [float(row["mean"]) for row in upper])
    factor = max(flops) / min(flops)
    print(f"FLOPs of {len(upper)} rows, factor {factor:.2f}: Spearman {order.statistic:.2f}, p = {order.pvalue:.2g}")
    print(f"adaptive less static, paired t over seeds: {_paired(scores['adaptive'] - scores['static'])}")
    on_the_vit()
    on_shapes("sweep_managers_shapes", "easy")
    on_shapes("sweep_shapes_medium", "medium")
    with_smaller_batches()
    at_own_batches()
    on_own_levels()
    of_the_top_levels()
    areas_at_one_rate()
    variance_of_questions()
    on_the_vit_until_decided()
    on_clip_art()
    rates_of_one_seed()
    on_rates_of_three_seeds()
    on_single_levels_of_the_vit()
    on_levels_trained_longer()
    best_steps()


if __name__ == "__main__":
    main()
