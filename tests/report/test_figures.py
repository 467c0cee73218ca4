"""Every figure from recorded files: what it shows, what its caption says, and that nothing missing is an error."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import recordings

from mtlab.recording import reader, token_levels
from mtlab.report import frame
from mtlab.report.figures import cost, curves, disagreements, estimates, panels, theme
from mtlab.report.figures.layers import (
    aggregation,
    agreement,
    difference,
    evolution,
    replaced_weights,
    similarity,
    specialisation,
    training_signals,
    words_and_patches,
    worth,
)
from mtlab.report.recordings import StudyRun, most_telling
from mtlab.report.study_report import build_report

VARIANTS = ("last", "bridge", "adaptive")


class Study:
    """Recorded runs of some variants."""

    def __init__(self, folder: Path, variants: Sequence[str] = VARIANTS, seeds: int = 3, **how: Any) -> None:
        self.layers, self.traces, self.worths, self.histories = {}, {}, {}, {}
        for place, variant in enumerate(variants):
            for seed in range(seeds):
                run = folder / str(place) / f"s{seed}"
                recordings.write_layers(run, seed, pattern=place, **how)
                recordings.write_trace(run, seed, pattern=place, **how)
                source = StudyRun(variant, seed, f"{place}/s{seed}")
                self.layers[source] = reader.read_layers(run)
                self.traces[source] = reader.read_trace(run)
                result = {"metrics": {"val/accuracy": 0.7}, "interventions": recordings.interventions(seed=seed)}
                self.worths[source] = reader.read_worth(result)
                steps = range(10, 60, 10)
                self.histories[source] = [{"step": n, "seconds": n, "val/accuracy": 0.01 * (n + seed)} for n in steps]
        self.start = {source: trace.layers[0] for source, trace in self.traces.items()}
        self.of = lambda variant: panels.runs_of(self.layers, variant)


FIGURES: dict[str, Callable[[Study, str], go.Figure]] = {
    "aggregation": lambda study, _: aggregation.plot_aggregation(study.layers),
    "weights": lambda study, _: aggregation.plot_aggregation(study.layers, kind="weights"),
    "heatmaps": lambda study, _: aggregation.plot_heatmaps(study.layers),
    "evolution": lambda study, one: evolution.plot_evolution(study.traces, one),
    "entropy": lambda study, _: specialisation.plot_entropy(study.layers),
    "specialisation": lambda study, _: specialisation.plot_specialisation(study.layers),
    "previous": lambda study, _: specialisation.plot_previous(study.layers),
    "consecutive": lambda study, _: similarity.plot_consecutive(study.layers),
    "similarity": lambda study, one: similarity.plot_similarity(study.layers, one, "cosine"),
    "agreement": lambda study, _: agreement.plot_agreement(study.layers),
    "agreement since the start": lambda study, _: agreement.plot_agreement(study.layers, study.start),
    "worth": lambda study, _: worth.plot_worth(study.layers, study.worths),
    "replaced": lambda study, _: replaced_weights.plot_replaced_weights(study.worths),
    "difference": lambda study, one: difference.plot_difference(study.of(one), study.start, (one, "start")),
    "curves": lambda study, _: curves.plot_curves(study.histories),
    "gradients": lambda study, one: training_signals.plot_gradients(study.traces, one),
    "temperatures": lambda study, _: training_signals.plot_temperatures(study.layers),
    "attention": lambda study, one: training_signals.plot_attention(study.layers, one, "self"),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def words(figure: go.Figure) -> str:
    """All that a figure says."""
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


def lines(figure: go.Figure, name: str, row: int = 1, column: int = 1) -> list[go.Scatter]:
    """The lines of a name in one panel, without their bands."""
    axis = figure.get_subplot(row, column).xaxis.plotly_name.replace("xaxis", "x")
    return [each for each in figure.data if each.name == name and (each.xaxis or "x") == axis]


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_says_how_many_seeds_and_over_what(study: Study, name: str) -> None:
    figure = FIGURES[name](study, "adaptive")
    caption = figure.layout.meta["caption"]
    assert "n = 3" in caption
    assert "seed" in caption
    if name not in ("curves", "gradients", "temperatures", "replaced"):
        assert "validation examples and their real tokens" in caption
        assert ("64" if name == "evolution" else "512") in caption
    assert figure.layout.meta["title"][0].isalpha()
    assert figure.data
    json.loads(figure.to_json())


@pytest.mark.parametrize("name", list(FIGURES))
@pytest.mark.parametrize("seeds", [0, 1])
def test_nothing_and_one_seed_are_no_errors(tmp_path: Path, name: str, seeds: int) -> None:
    figure = FIGURES[name](Study(tmp_path, ["adaptive"], seeds), "adaptive")
    told = "".join(annotation.text or "" for annotation in figure.layout.annotations)
    assert bool(figure.data) == (seeds > 0 and "agreement" not in name)
    assert figure.data or len(told) > 20
    assert "nan" not in words(figure).lower().replace("annotation", "")


@pytest.mark.parametrize("name", list(FIGURES))
def test_labels_are_text_whatever_they_hold(tmp_path: Path, name: str) -> None:
    evil = '<b>x</b> & <a href="http://x.example">y</a> %{x}'
    figure = FIGURES[name](Study(tmp_path, [evil, "other"], 2), evil)
    shown = figure.to_plotly_json()
    plain = {key: value for key, value in shown["layout"].items() if key != "meta"}
    said = json.dumps([plain, [{k: v for k, v in each.items() if k != "legendgroup"} for each in shown["data"]]])
    assert "<a" not in said
    assert "<b>" not in said
    assert not any(
        "%{x}</" in (each.hovertemplate or "") or "x.example" in (each.hovertemplate or "") for each in figure.data
    )


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("weights",)])
def test_one_level_and_one_layer(tmp_path: Path, name: str) -> None:
    levels = {"text": [6], "image": [5]}
    FIGURES[name](Study(tmp_path, VARIANTS, 2, depths=1, levels=levels), "adaptive")


def test_aggregation_shows_the_recorded_means_in_panels_of_layers(study: Study) -> None:
    styles = theme.assign_styles(["none", *VARIANTS])
    figure = aggregation.plot_aggregation(study.layers, styles)
    line, below = lines(figure, "adaptive", 2, 3)  # image, third layer
    assert below.y == pytest.approx([0.4])
    runs = [each.experts("contributions", "image", 2) for each in study.of("adaptive").values()]
    assert list(line.x) == recordings.LEVELS["image"]
    np.testing.assert_allclose(line.y, np.mean(runs, 0), rtol=1e-6)
    assert line.line.color == styles["adaptive"].colour
    bands = [each for each in figure.data if each.fill == "toself" and each.legendgroup == "adaptive"]
    assert len(bands) == 6
    top = np.max([each.experts("contributions", "text", 0) for each in study.of("adaptive").values()], 0)
    np.testing.assert_allclose(bands[0].y[:3], top, rtol=1e-6)
    assert sum(bool(each.showlegend) for each in figure.data) == len(VARIANTS)
    assert "layer 3" in words(figure)


def test_a_subset_keeps_its_colours(study: Study) -> None:
    styles = theme.assign_styles(VARIANTS)
    for made in (aggregation.plot_aggregation, specialisation.plot_entropy, similarity.plot_consecutive):
        (line,) = lines(made(study.of("adaptive"), styles), "adaptive")[:1]
        assert line.line.color == styles["adaptive"].colour


def test_managers_without_contributions_are_named(tmp_path: Path) -> None:
    study = Study(tmp_path)
    for source, layers in study.layers.items():
        if source.label == "bridge":
            for key in [key for key in layers.values if key.startswith("contributions")]:
                del layers.values[key]
    for made in (aggregation.plot_aggregation, specialisation.plot_entropy):
        assert "Without contributions: bridge." in made(study.layers).layout.meta["caption"]
    assert not lines(aggregation.plot_aggregation(study.layers), "bridge")
    assert "None of these managers has contributions: bridge" in words(aggregation.plot_aggregation(study.of("bridge")))


def test_every_row_of_a_heatmap_of_contributions_sums_to_one(study: Study) -> None:
    for drawn in aggregation.plot_heatmaps(study.layers).data:
        np.testing.assert_allclose(np.nansum(np.array(drawn.z, float), 1), 1, rtol=1e-5)
        assert list(drawn.x)[-1] == "prev."


def test_weights_are_on_a_scale_around_zero_with_their_spread_over_dimensions(tmp_path: Path) -> None:
    study = Study(tmp_path, ["vector"], 2)
    for layers in study.layers.values():
        layers.values["weights/text/1"][:] = [-0.5, 0.25, 0.25, 1.0]
        layers.values["weights_dimensions/text/1"] = np.array([0.3, 0.1, 0.0, 0.2])
    figure = aggregation.plot_heatmaps(study.layers, "weights")
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1, 1)
    assert figure.data[0].coloraxis == "coloraxis"
    assert figure.data[0].text[1] == ["−0.50<br>±0.30", "0.25<br>±0.10", "0.25", "1.00<br>±0.20"]
    assert "±: standard deviation over dimensions" in figure.layout.meta["caption"]
    line, below = lines(aggregation.plot_aggregation(study.layers, kind="weights"), "vector", 1, 2)
    assert below.y == pytest.approx([1.0])
    np.testing.assert_allclose(line.error_y.array, [0.3, 0.1, 0.0])


def test_the_previous_state_stands_beside_the_levels(study: Study) -> None:
    figure = aggregation.plot_aggregation(study.of("adaptive"))
    points = [each for each in figure.data if each.mode == "markers"]
    assert len(points) == 4, "two modalities, two layers above the first"
    np.testing.assert_allclose([each.y[0] for each in points], 0.4, rtol=1e-5)
    assert "prev." in figure.layout.xaxis2.ticktext
    assert "prev." not in figure.layout.xaxis.ticktext


def test_what_was_measured_by_removal_is_named(study: Study) -> None:
    for source, layers in study.layers.items():
        if source.label == "last":
            layers.values["by_removal/text/1"] = np.ones(())
    try:
        caption = aggregation.plot_aggregation(study.layers).layout.meta["caption"]
        assert "No sum, so by removal of each state: last." in caption
        assert "by removal" not in aggregation.plot_aggregation(study.layers, kind="weights").layout.meta["caption"]
    finally:
        for layers in study.layers.values():
            layers.values.pop("by_removal/text/1", None)


def test_no_two_figures_of_layers_have_one_title(study: Study) -> None:
    titles = [FIGURES[name](study, "adaptive").layout.meta["title"] for name in ("aggregation", "heatmaps", "worth")]
    assert len(set(titles)) == 3


def test_captions_of_a_single_run_do_not_speak_of_seeds(tmp_path: Path) -> None:
    alone = Study(tmp_path, ["adaptive"], 1)
    for name in ("aggregation", "heatmaps", "evolution", "entropy", "worth", "gradients", "consecutive", "attention"):
        caption = FIGURES[name](alone, "adaptive").layout.meta["caption"]
        assert "seeds" not in caption, name
        assert "One run" in caption, name


def test_the_run_to_look_at_first_varies_most_by_token() -> None:
    def run(tokens: float, entropy: float) -> reader.Layers:
        return reader.Layers(
            {
                "weights/text/0": np.full(3, 1 / 3),
                "weights_tokens/text/0": np.full(3, tokens),
                "contributions_entropy/text/0": np.array(entropy),
            },
            {"text": (1, 2, 3)},
        )

    assert most_telling({"static": run(0.0, 1.0), "adaptive": run(0.2, 0.5), "sparse": run(0.3, 0.1)}) == "sparse"
    assert most_telling({"bridge": run(0.0, 0.0), "static": run(0.0, 1.0), "mean": run(0.0, 1.0)}) == "static"
    assert most_telling({}) is None


def test_many_variants_do_not_crowd_a_panel(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(11)]
    figure = aggregation.plot_aggregation(Study(tmp_path, names, 1).layers)
    hidden = {each.legendgroup for each in figure.data if each.visible == "legendonly"}
    assert hidden == {"v8", "v9", "v10"}
    assert "Shown: 8 of 11 variants" in figure.layout.meta["caption"]


def test_heatmaps_and_differences_are_of_means_over_seeds(study: Study) -> None:
    made = aggregation.level_matrix(study.of("last"), "weights", "text")
    runs = [[each.experts("weights", "text", depth) for depth in range(3)] for each in study.of("last").values()]
    assert (made.levels, made.depths) == ((4, 5, 6), [0, 1, 2])
    assert made.columns == ["4", "5", "6", "prev."]
    values = made.values
    np.testing.assert_allclose(values[:, :3], np.mean(runs, 0), rtol=1e-6)
    np.testing.assert_array_equal(values[:, 3], [np.nan, 1, 1])
    figure = difference.plot_difference(study.of("adaptive"), study.of("last"), ("adaptive", "last"), "weights")
    mine = aggregation.level_matrix(study.of("adaptive"), "weights", "text").values
    np.testing.assert_allclose(np.array(figure.data[0].z, float), mine - values, rtol=1e-5)
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    # a mark says that all seeds lie apart, and two seeds are too few to say so
    assert any("*" in cell for row in figure.data[0].text for cell in row)
    few = [{s: v for s, v in study.of(name).items() if s.seed < 2} for name in ("adaptive", "last")]
    assert "*" not in json.dumps(difference.plot_difference(*few, ("a", "b"), "weights").data[0].text)


def test_evolution_starts_before_training_and_ends_at_the_last_step(study: Study) -> None:
    figure = evolution.plot_evolution(study.traces, "adaptive")
    (line,) = lines(figure, "level 5", 1, 1)
    runs = [
        [at.experts("contributions", "text", 0)[1] for at in t.layers]
        for t in panels.runs_of(study.traces, "adaptive").values()
    ]
    np.testing.assert_allclose(line.y, np.mean(runs, 0), rtol=1e-6)
    ticks = figure.layout.xaxis.ticktext
    assert ticks[-1] == "100"
    legend = [each.name for each in sorted(figure.data, key=lambda t: t.legendrank or 0) if each.showlegend]
    assert legend == [*(f"level {level}" for level in (2, 3, 4, 5, 6)), "previous state"]


def test_runs_that_stopped_early_are_shown_as_far_as_all_have_come(study: Study) -> None:
    first, *others = panels.runs_of(study.traces, "adaptive")
    cut = {name: norms[:5] for name, norms in study.traces[first].gradients.items()}
    early = {first: reader.TrainingTrace(study.traces[first].layers[:5], cut)} | {
        each: study.traces[each] for each in others
    }
    for figure in (evolution.plot_evolution(early, "adaptive"), training_signals.plot_gradients(early, "adaptive")):
        assert {len(each.x) for each in figure.data if each.name} == {5}
        assert figure.layout.xaxis.ticktext[-1] == "10"
        assert "n = 3 seeds" in figure.layout.meta["caption"]


def test_what_comes_from_below_is_the_previous_states_part(study: Study) -> None:
    (line,) = lines(specialisation.plot_previous(study.layers), "adaptive")
    assert np.isnan(line.y[0])  # nothing lies below the first layer
    np.testing.assert_allclose(line.y[1:], 0.4, rtol=1e-5)


def test_seeds_that_share_a_pattern_agree_and_others_do_not(tmp_path: Path) -> None:
    alike, strangers = Study(tmp_path / "a", ["alike"], 5), Study(tmp_path / "b", [f"{n}" for n in range(5)], 1)
    apart = {StudyRun("apart", n, s.run): layers for n, (s, layers) in enumerate(strangers.layers.items())}
    for each in agreement.seed_agreements({**alike.layers, **apart}):
        low, high = each.chance
        assert len(each.pairs) == 10
        assert (each.mean > high) == (each.variant == "alike")
        assert low < 0 < high
    flat = {source: reader.Layers({"contributions/text/0": np.full(3, 1 / 3)}, {}) for source in alike.layers}
    assert {each.note for each in agreement.seed_agreements(flat)} == {
        "the levels are all alike",
        "no contributions of several levels",
    }


def test_a_variant_that_agreement_cannot_show_is_named_with_the_reason(tmp_path: Path) -> None:
    """`last` draws on one level before and after training."""
    study = Study(tmp_path / "a", ["last", "static"], 3)
    for source, layers in study.layers.items():
        if source.label == "last":
            for name in [name for name in layers.values if name.startswith("contributions/")]:
                layers.values[name] = study.start[source].values[name]
    caption = agreement.plot_agreement(study.layers, study.start).layout.meta["caption"]
    assert caption.endswith("Not shown: last (training does not change its levels' parts).")
    assert "Not shown" not in agreement.plot_agreement(study.layers).layout.meta["caption"]


def test_chance_is_no_agreement(tmp_path: Path) -> None:
    """Seeds without anything in common: 95 % of their means lie within what is called chance."""
    dice, inside, levels = np.random.default_rng(0), 0, {"text": [1, 2, 3, 4, 5, 6]}
    for _ in range(40):
        values = [{f"contributions/text/{depth}": dice.random(6) for depth in range(3)} for _ in range(4)]
        made = {StudyRun("x", n, f"x/s{n}"): reader.Layers(each, levels) for n, each in enumerate(values)}
        (each,) = [each for each in agreement.seed_agreements(made) if each.modality == "text"]
        inside += each.chance[0] <= each.mean <= each.chance[1]
    assert inside >= 34


def test_worth_sets_drops_beside_weights(study: Study) -> None:
    figure = worth.plot_worth(study.layers, study.worths)
    (line,) = lines(figure, "adaptive", 3, 1)
    drops = [
        [each.drop("text", level) for level in (4, 5, 6)] for s, each in study.worths.items() if s.label == "adaptive"
    ]
    np.testing.assert_allclose(line.y, 100 * np.mean(drops, 0), rtol=1e-6)
    assert "renormalised" in figure.layout.meta["caption"]
    assert "mtlab intervene" in words(worth.plot_worth(study.layers, {}))


def test_replaced_weights_tell_what_choosing_is_worth(study: Study) -> None:
    first = next(iter(study.worths))
    swapped = {first: dataclasses.replace(study.worths[first], swapped={1: {"text": 0.5}, 2: {"text": 0.3}})}
    figure = replaced_weights.plot_replaced_weights({**study.worths, **swapped})
    (uniform,) = [each for each in lines(figure, "uniform") if each.y == ("adaptive",)]
    assert uniform.x[0] == pytest.approx(10)  # the fixture's 0.1
    (other,) = [each for each in lines(figure, "another seed's") if not each.showlegend and each.y != (None,)]
    assert (other.x[0], other.y) == (pytest.approx(100 * (0.7 - 0.4)), (first.label,))
    assert not lines(figure, "another seed's", 1, 2)
    assert "was not measured" in words(replaced_weights.plot_replaced_weights({}))


def test_curves_go_as_far_as_all_runs_of_a_variant(study: Study) -> None:
    histories = {source: list(rows) for source, rows in study.histories.items()}
    first = next(iter(histories))
    histories[first] = histories[first][:2]  # one is behind
    figure = curves.plot_curves(histories)
    assert list(lines(figure, "last")[0].x) == [10, 20]
    assert list(lines(figure, "bridge")[0].x) == [10, 20, 30, 40, 50]
    assert lines(figure, "bridge")[0].y[0] == pytest.approx(11)  # points
    assert "logged: val/accuracy" in words(curves.plot_curves(histories, "val/los"))


# Tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> reader.Tokens:
    folder = tmp_path_factory.mktemp("tokens")
    recordings.write_tokens(folder)
    return reader.read_tokens(folder)


def test_every_word_and_patch_has_its_level_and_place(tokens: reader.Tokens) -> None:
    found = token_levels.token_levels(tokens, 1, "text", 2)
    assert [each.token for each in found] == list(tokens.examples[1].tokens)
    for place, each in enumerate(found):
        rows = tokens.rows("contributions", "text", 2, 1)[:, place]
        assert each.level == (4, 5, 6)[int(rows[:3].argmax())]
        assert each.parts == pytest.approx(dict(zip(["level 4", "level 5", "level 6", "previous"], rows, strict=True)))
        assert sum(each.parts.values()) == pytest.approx(1, abs=1e-5)
        assert 0 <= each.strength <= 1
    patches = token_levels.token_levels(tokens, 1, "image", 0)
    assert patches[0].place is None
    assert [each.place for each in patches[1:6]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert patches[6].token == "patch 2, 2"
    assert token_levels.token_levels(tokens, 1, "image", 9) == []


def test_strength_is_how_far_a_level_leads() -> None:
    def made(*shares: float, previous: float | None = None) -> token_levels.TokenLevels:
        return token_levels.TokenLevels("x", tuple(range(1, len(shares) + 1)), shares, previous)

    assert made(0.25, 0.25, 0.25, 0.25).strength == pytest.approx(0)
    assert made(0.3, 0.0).strength == 1
    assert made(0.4).strength == 1
    # a weak choice stays pale, even if all others are weaker
    assert made(0.26, 0.25, 0.25, 0.24).colour_strength < 0.15
    # a negative weight is as strong as a positive one, and where all comes from the previous state there is no level
    assert made(0.1, -0.5, previous=1.0).level == 2
    assert made(0.0, 0.0, previous=1.0).level is None


def test_bars_of_words_sum_to_one_with_the_previous_state(tokens: reader.Tokens) -> None:
    figure = words_and_patches.plot_words(tokens, 0, 1)
    assert figure.data[-1].name == "previous"
    assert figure.data[-1].marker.pattern.shape == "/"
    np.testing.assert_allclose(np.sum([each.y for each in figure.data], 0), 1, rtol=1e-5)
    assert list(figure.layout.xaxis.ticktext) == list(tokens.examples[0].tokens)
    weights = words_and_patches.plot_words(tokens, 0, 1, "weights").data[-1]
    np.testing.assert_allclose(weights.y, tokens.rows("weights", "text", 1, 0)[-1], rtol=1e-5)
    assert "previous" not in [each.name for each in words_and_patches.plot_words(tokens, 0, 0).data]
    caption = figure.layout.meta["caption"]
    assert "predicted: red, right: red" in caption
    assert "One example of one run" in caption
    assert "levels and previous state sum to one" in caption


@pytest.mark.parametrize("picture", [None, np.zeros((32, 32, 3), np.uint8)], ids=["without", "with a picture"])
def test_patches_lie_over_the_picture(tokens: reader.Tokens, picture: Any) -> None:
    figure = words_and_patches.plot_patches(tokens, 0, 1, image=picture)
    assert len(figure.layout.images) == (1 if picture is None else 2)
    numbers = next(each for each in figure.data if each.text is not None)
    found = token_levels.token_levels(tokens, 0, "image", 1)
    assert list(numbers.text) == [str(each.level) for each in found if each.place is not None]
    assert "token 1: level" in figure.layout.meta["caption"]


def test_image_tokens_without_a_grid_are_bars(tmp_path: Path) -> None:
    recordings.write_tokens(tmp_path, grid={"rows": 4, "columns": 4, "prefix": 1})
    read = reader.read_tokens(tmp_path)
    figure = words_and_patches.plot_patches(reader.Tokens(read.values, read.levels, read.examples, None), 0, 0)
    assert {type(each).__name__ for each in figure.data} == {"Bar"}
    assert "No contributions of single tokens" in words(words_and_patches.plot_patches(read, 0, 9))


# From reports


@pytest.mark.parametrize("made", [estimates.plot_estimates, estimates.plot_families, cost.plot_cost])
def test_reports_become_figures_with_as_many_seeds_as_there_are(four, made: Any) -> None:  # type: ignore[no-untyped-def]
    plan = four.plan(["last", "bridge", "static", "adaptive"])
    plan["rows"][3]["label"] = "<b>none</b>"
    figure = made(build_report(four.store, plan))
    assert "n = " in figure.layout.meta["caption"]
    assert "&lt;b&gt;none" in words(figure)
    assert "<b>none" not in words(figure)
    assert "bridge" in words(figure)


def test_comparison_shows_estimates_intervals_and_what_was_shown(four) -> None:  # type: ignore[no-untyped-def]
    report = build_report(four.store, four.plan(["last", "bridge", "static", "adaptive"]))
    figure = estimates.plot_estimates(report)
    row = next(row for row in report.rows if row.label == "static")
    left, right = lines(figure, "static", 1, 1)[0], lines(figure, "static", 1, 2)[0]
    assert left.x[0] == pytest.approx(100 * row.mean.mean)
    assert left.error_x.array[0] == pytest.approx(100 * (row.mean.interval[1] - row.mean.mean))
    assert right.x[0] == pytest.approx(100 * row.difference.difference)
    assert right.marker.symbol == "circle"
    assert lines(figure, "adaptive", 1, 2)[0].marker.symbol == "circle-open"
    assert "Holm for 3 comparisons" in figure.layout.meta["caption"]


@pytest.mark.parametrize("made", [estimates.plot_estimates, estimates.plot_families, cost.plot_cost])
def test_reports_of_nothing_say_so(fabric, made: Any) -> None:  # type: ignore[no-untyped-def]
    figure = made(build_report(fabric.store, fabric.plan(["last", "bridge"])))
    assert not figure.data
    assert len(figure.layout.annotations[0].text) > 20


def test_disagreements_are_sorted_counted_and_named(four) -> None:  # type: ignore[no-untyped-def]
    outcomes = frame.outcome_frame(four.store, four.plan(["static", "bridge"]), split="test")
    texts = {f"q{number}": (f"question {number}?", f"picture {number}") for number in range(300)}
    table = disagreements.find_disagreements(outcomes, ("static", "bridge"), ("S", "B"), ("yes", "no"), texts, limit=7)
    gaps = [abs(row.first - row.second) for row in table.rows]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == 7
    assert (table.examples, table.seeds, table.split) == (300, (5, 5), "test")
    first_better, second_better = map(int, re.search(r"on (\d+), B on (\d+):?", table.caption).groups())
    assert first_better > second_better > 0
    row = table.rows[0]
    own = outcomes.filter(id=row.id)
    assert row.first == pytest.approx(own.filter(cell="static")["score"].mean())
    assert (row.truth, row.text) == ("yes", f"question {row.id[1:]}?")
    assert {row.first_says, row.second_says} == {"yes", "no"}
    assert "S is right more often on" in table.caption
    assert disagreements.find_disagreements(outcomes, ("static", "none"), ("S", "N")).rows == ()
    assert disagreements.find_disagreements(outcomes.clear(), ("static", "none"), ("S", "N")).rows == ()


def test_every_seed_is_a_dot_beside_its_mean(four) -> None:  # type: ignore[no-untyped-def]
    report = build_report(four.store, four.plan(["last", "bridge", "static", "adaptive"]))
    rows = {row.label: row for row in report.rows}
    static, bridge = (list(rows[name].results.values()) for name in ("static", "bridge"))
    figure = estimates.plot_estimates(report)
    left, right = (lines(figure, "static, single seeds", 1, column)[0] for column in (1, 2))
    assert list(left.x) == pytest.approx([100 * value for value in static])
    assert list(right.x) == pytest.approx([100 * (a - b) for a, b in zip(static, bridge, strict=True)])
    drawn = lines(cost.plot_cost(report), "static, single seeds")[0]
    assert list(drawn.y) == pytest.approx([100 * value for value in static])


def test_axes_of_an_accuracy_stay_within_its_bounds_however_wide_its_intervals(fabric) -> None:  # type: ignore[no-untyped-def]
    for cell, accuracies in {"bridge": (0.30, 0.99), "static": (0.98, 0.40)}.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=2))
    figure = estimates.plot_estimates(report)
    assert figure.layout.xaxis.range == (0, 100)
    assert figure.layout.xaxis2.range == (-100, 100)
    assert cost.plot_cost(report).layout.yaxis.range == (0, 100)
    ends = [each.x[0] + each.error_x.array[0] for each in figure.data if each.error_x.array]
    assert max(ends) <= 100


def test_the_caption_of_single_runs_does_not_speak_of_a_mean(fabric) -> None:  # type: ignore[no-untyped-def]
    for cell in ("bridge", "static"):
        fabric.finish(cell, 0, 0.7)
    report = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=1))
    for figure in (estimates.plot_estimates(report), cost.plot_cost(report)):
        assert "Each dot is one run" in figure.layout.meta["caption"]
        assert "ean over seeds" not in figure.layout.meta["caption"]


def test_curves_of_each_seed_are_those_that_were_logged(study: Study) -> None:
    figure = curves.plot_curves(study.histories, seeds=True)
    named = {trace.name: trace for trace in figure.data}
    assert list(named["bridge, seed 2"].y) == pytest.approx([100 * 0.01 * (n + 2) for n in range(10, 60, 10)])
    assert named["bridge, seed 2"].line.color == named["bridge, seed 0"].line.color == named["bridge"].line.color
    assert figure.layout.yaxis.range[0] >= 0
    assert "A line for each seed" in figure.layout.meta["caption"]


def test_smoothed_curves_say_so_and_follow_the_raw_ones(study: Study) -> None:
    raw, smooth = (curves.plot_curves(study.histories, seeds=True, smooth=on) for on in (False, True))
    first, last = (smooth.data[0].y[at] - raw.data[0].y[at] for at in (0, -1))
    assert first == 0
    assert last < 0  # an average of a rising curve lies below it
    assert "moving average" in smooth.layout.meta["caption"]


def test_metrics_stand_beside_one_another_with_axes_of_their_own() -> None:
    rows = [{"step": step, "val/accuracy": 0.5, "val/loss": 3.0 / step} for step in (1, 10, 100)]
    found = {StudyRun("a", 4, "a/s4"): rows}
    assert curves.metric_choices(["train/loss", "val/loss", "val/accuracy", "val/x"], "val/accuracy") == [
        "val/accuracy", "val/accuracy and val/loss", "val/loss", "train/loss", "val/x",
    ]  # fmt: skip
    figure = curves.plot_curves(found, "val/accuracy and val/loss", log=True)
    assert [list(trace.y) for trace in figure.data] == [[50, 50, 50], [3.0, 0.3, 0.03]]
    assert figure.layout.xaxis.type == figure.layout.xaxis2.type == "log"
    assert figure.layout.yaxis2.range is None
    assert sum(trace.showlegend for trace in figure.data) == 1
    assert figure.layout.meta["caption"] == "One run; on validation data."


def test_disagreements_are_filtered_and_paged(four) -> None:  # type: ignore[no-untyped-def]
    outcomes = frame.outcome_frame(four.store, four.plan(["static", "bridge"]), split="test")

    def find(**chosen: Any) -> disagreements.DisagreementTable:
        return disagreements.find_disagreements(outcomes, ("static", "bridge"), ("S", "B"), **chosen)

    everything = find(limit=1000)
    assert everything.families == ("colour", "count", "existence")
    assert everything.differing == len(everything.rows)
    second = find(better=1, limit=1000)
    assert all(row.second > row.first for row in second.rows)
    assert second.differing + find(better=0).differing == everything.differing
    count = find(family="count", better=0, limit=1000)
    assert [row.id for row in count.rows] == [
        row.id for row in everything.rows if row.family == "count" and row.first > row.second
    ]
    pages = [find(start=start, limit=40).rows for start in range(0, everything.differing, 40)]
    assert [row for page in pages for row in page] == list(everything.rows)
    assert find(family="none").rows == ()
