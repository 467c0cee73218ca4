"""Every figure from recorded files: what it shows, what its caption says, and that nothing missing is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import recordings
from recorded_study import VARIANTS, Study, lines, words

from mtlab.recording import reader
from mtlab.report.figures import curves, panels, theme
from mtlab.report.figures.layers import (
    aggregation,
    agreement,
    difference,
    evolution,
    replaced_weights,
    similarity,
    specialisation,
    training_signals,
    worth,
)
from mtlab.report.recordings import StudyRun, align_levels, most_telling

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
    "worth by family": lambda study, one: worth.plot_worth_by_family(study.worths, one),
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


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_says_how_many_seeds_and_over_what(study: Study, name: str) -> None:
    figure = FIGURES[name](study, "adaptive")
    caption = figure.layout.meta["caption"]
    assert "n = 3" in caption
    assert "seed" in caption
    if name not in ("curves", "gradients", "temperatures", "replaced", "worth by family"):
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


@pytest.mark.parametrize("name", ["agreement", "replaced"])
def test_variants_named_by_numbers_are_lines_and_no_places_on_a_scale(tmp_path: Path, name: str) -> None:
    figure = FIGURES[name](Study(tmp_path, ["0.001", "16"], 2), "16")
    assert {axis.type for axis in figure.select_yaxes()} == {"category"}


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("weights",)])
def test_one_level_and_one_layer(tmp_path: Path, name: str) -> None:
    levels = {"text": [6], "image": [5]}
    FIGURES[name](Study(tmp_path, VARIANTS, 2, depths=1, levels=levels), "adaptive")


def test_aggregation_shows_the_recorded_means_in_panels_of_layers(study: Study) -> None:
    styles = theme.assign_styles(["none", *VARIANTS])
    figure = aggregation.plot_aggregation(study.layers, styles)
    (line,), (below,) = lines(figure, "adaptive", 2, 3), lines(figure, "adaptive, previous", 2, 3)  # image, third layer
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
    heatmaps = aggregation.plot_heatmaps(study.layers).data
    assert heatmaps
    for drawn in heatmaps:
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
    drawn = aggregation.plot_aggregation(study.layers, kind="weights")
    (line,), (below,) = lines(drawn, "vector", 1, 2), lines(drawn, "vector, previous", 1, 2)
    assert below.y == pytest.approx([1.0])
    np.testing.assert_allclose(line.error_y.array, [0.3, 0.1, 0.0])
    first, *_ = study.layers.values()  # a run without previous states among others
    first.values["weights/text/1"], spread = np.array([0.5, 0.25, 0.25]), np.array([0.1, 0.1, 0.2])
    first.values["weights_dimensions/text/1"] = spread
    for runs in (study.of("vector"), dict(reversed(study.of("vector").items()))):
        np.testing.assert_allclose(aggregation.level_matrix(runs, "weights", "text").spreads[1], [0.2, 0.1, 0.1, 0.2])


def test_previous_states_have_room_beside_many_levels() -> None:
    few, many = (aggregation._ticks(range(1, last + 1), previous=True) for last in (6, 24))
    assert few["tickvals"][-1] == 7.25
    assert many["tickvals"][-1] > 27
    assert many["range"][1] - 24 > 0.15 * 24


def test_the_previous_state_stands_beside_the_levels(study: Study) -> None:
    figure = aggregation.plot_aggregation(study.of("adaptive"))
    points = [each for each in figure.data if each.mode == "markers"]
    assert len(points) == 4, "two modalities, two layers above the first"
    assert {each.name for each in points} == {"adaptive, previous"}, "what CSV tells them from levels by"
    np.testing.assert_allclose([each.y[0] for each in points], 0.4, rtol=1e-5)
    assert "prev." in figure.layout.xaxis2.ticktext
    assert "prev." not in figure.layout.xaxis.ticktext


@pytest.mark.parametrize(
    "name",
    [
        "aggregation",
        "heatmaps",
        "worth",
        "evolution",
        "agreement",
        "difference",
        "entropy",
        "specialisation",
        "previous",
    ],
)
def test_what_was_measured_by_removal_is_named(tmp_path: Path, name: str) -> None:
    study = Study(tmp_path, ["last", "adaptive"], 2)
    for layers in [each for source, each in study.layers.items() if source.label == "last"]:
        layers.values["by_removal/text/1"] = np.ones(())
    for trace in [each for source, each in study.traces.items() if source.label == "last"]:
        trace.layers[-1].values["by_removal/text/1"] = np.ones(())
    caption = FIGURES[name](study, "last").layout.meta["caption"]
    assert "No sum, so by removal of each state: last." in caption
    assert "by removal" not in aggregation.plot_aggregation(study.layers, kind="weights").layout.meta["caption"]


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


def test_a_long_legend_leaves_the_panels_their_height(tmp_path: Path) -> None:
    few, many = (
        aggregation.plot_aggregation(Study(tmp_path / f"{number}", [f"variant {n}" for n in range(number)], 1).layers)
        for number in (3, 30)
    )
    assert few.layout.meta["height"] == 430
    assert many.layout.meta["height"] >= 430 + 3 * 29


def test_runs_with_different_levels_are_averaged_level_by_level(tmp_path: Path) -> None:
    """As where the dashboard groups variants by an axis."""
    found = {}
    for seed, text in enumerate(([4, 5, 6], [5, 6, 7])):
        recordings.write_layers(tmp_path / f"s{seed}", seed, levels={"text": text, "image": [2, 3]})
        found[StudyRun("group", seed, f"x/s{seed}")] = reader.read_layers(tmp_path / f"s{seed}")
    first, second = (each.experts("contributions", "text", 1) for each in found.values())
    figure = aggregation.plot_aggregation(align_levels(found))
    (line,) = lines(figure, "group", 1, 2)
    assert list(line.x) == [5, 6]
    np.testing.assert_allclose(line.y, [(first[1] + second[0]) / 2, (first[2] + second[1]) / 2])
    (previous,) = lines(figure, "group, previous", 1, 2)
    assert previous.y[0] == pytest.approx(0.4)


def test_a_manager_of_one_level_has_contributions_and_nothing_to_choose(tmp_path: Path) -> None:
    one = Study(tmp_path / "one", ["last"], levels={"text": [6], "image": [5]}).layers
    figure = specialisation.plot_entropy({**Study(tmp_path / "several", ["adaptive"]).layers, **one})
    assert "Not shown: last (a single level)." in figure.layout.meta["caption"]
    assert "Without contributions" not in figure.layout.meta["caption"]


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


def test_previous_states_are_averaged_over_those_that_have_some(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = study.of("last")
    without, previous = next(iter(runs.values())), reader.Layers.previous
    monkeypatch.setattr(reader.Layers, "previous", lambda self, *at: None if self is without else previous(self, *at))
    made = aggregation.level_matrix(runs, "weights", "text")
    means = [[each.experts("weights", "text", depth) for depth in range(3)] for each in runs.values()]
    np.testing.assert_allclose(made.values[:, :3], np.mean(means, 0), rtol=1e-6)
    np.testing.assert_array_equal(made.values[:, 3], [np.nan, 1, 1])


def test_evolution_starts_before_training_and_ends_at_the_last_step(study: Study) -> None:
    figure = evolution.plot_evolution(study.traces, "adaptive")
    (line,) = lines(figure, "level 5", 1, 1)
    runs = [
        [at.experts("contributions", "text", 0)[1] for at in t.layers]
        for t in panels.runs_of(study.traces, "adaptive").values()
    ]
    np.testing.assert_allclose(line.y, np.mean(runs, 0), rtol=1e-6)
    assert list(line.x) == [str(step) for step in recordings.STEPS], "what CSV saves"
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


def test_heads_are_averaged_from_the_narrowest_to_the_widest_of_each_seed(tmp_path: Path) -> None:
    """The first head of a seed is no kin of another seed's first head."""
    study = Study(tmp_path, ["adaptive"], 2)
    for layers, heads in zip(study.layers.values(), ([0.2, 0.8], [0.6, 0.4]), strict=True):
        layers.values["attention/text/1/self"] = np.array(heads)
    text, _ = training_signals.plot_attention(study.layers, "adaptive", "self").data
    assert list(text.z[1]) == pytest.approx([0.3, 0.7])


def test_temperatures_of_a_variant_with_fewer_layers_are_shown(tmp_path: Path) -> None:
    deep, flat = Study(tmp_path / "deep", ["deep"], depths=3), Study(tmp_path / "flat", ["flat"], depths=2)
    figure = training_signals.plot_temperatures({**deep.layers, **flat.layers})
    for column in (1, 2):
        (line,) = lines(figure, "flat", 1, column)
        assert list(line.y)[:2] == pytest.approx([1.0, 0.9])


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
