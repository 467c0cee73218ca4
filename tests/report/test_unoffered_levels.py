"""Levels of the tower that managers are not offered: NaN in recordings, and left out wherever these are read."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import recordings
from recorded_study import Study, lines, words
from rich.console import Console
from test_figures import FIGURES

from mtlab.inference.inspection import Inspection, summary
from mtlab.recording import reader
from mtlab.recording.token_levels import token_levels
from mtlab.report import layer_table
from mtlab.report.figures.layers import aggregation, agreement, by_family, difference, specialisation
from mtlab.report.figures.layers import worth as worth_figure
from mtlab.report.formats import layer_tables
from mtlab.report.formats.token_terminal import render_tokens
from mtlab.report.page.token_page import RecordedRun, token_data
from mtlab.report.recordings import StudyRun, most_telling
from mtlab.report.sync.run_data import layer_metrics

UNOFFERED = {"image": [3]}  # of 2 to 5
OFFERED = [2, 4, 5]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"), unoffered=UNOFFERED)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> reader.Tokens:
    folder = tmp_path_factory.mktemp("tokens")
    recordings.write_tokens(folder, unoffered=UNOFFERED)
    read = reader.read_tokens(folder)
    assert isinstance(read, reader.Tokens)
    return read


def says_nan(text: str) -> bool:
    return "nan" in text.lower().replace("annotation", "")


@pytest.mark.parametrize("name", list(FIGURES))
def test_no_figure_says_nan(study: Study, name: str) -> None:
    figure = FIGURES[name](study, "adaptive")
    assert figure.data
    assert not says_nan(words(figure))


def test_figures_have_no_points_at_them(study: Study) -> None:
    for figure in (
        aggregation.plot_aggregation(study.layers),
        aggregation.plot_aggregation(study.layers, None, "weights"),
    ):
        (line,) = lines(figure, "adaptive", 2, 2)[:1]
        assert list(line.x) == OFFERED
    (line,) = lines(worth_figure.plot_worth(study.layers, study.worths), "adaptive", 1, 2)
    assert list(line.x) == OFFERED
    spread = specialisation.plot_specialisation(study.layers)
    first = [layers.experts("contributions", "image", 0, "tokens") for layers in study.of("adaptive").values()]
    (line,) = lines(spread, "adaptive", 1, 2)
    assert line.y[0] == pytest.approx(np.mean([rows[[0, 2, 3]].mean() for rows in first]))


def test_a_level_offered_in_some_layers_is_averaged_over_those() -> None:
    values = {"weights/image/0": np.array([0.25, np.nan, 0.75]), "weights/image/2": np.array([0.5, 0.5, np.nan])}
    run = StudyRun("static", 0, "x/s0")
    figure = worth_figure.plot_worth({run: reader.Layers(values, {"image": (1, 3, 4)})}, {run: worth({"1": 0.5})})
    (line,) = lines(figure, "static")
    assert (list(line.x), list(line.y)) == ([1, 3, 4], [0.375, 0.5, 0.75])


def worth(without: dict[str, float]) -> reader.Worth:
    parts = {"text": {"without": {}}, "image": {"by": "weights", "without": without}}
    read = reader.read_worth({"metrics": {"val/accuracy": 0.7}, "interventions": {"metric": "val/accuracy", **parts}})
    assert isinstance(read, reader.Worth)
    return read


def test_nothing_in_common_is_no_difference() -> None:
    one, other = (
        {StudyRun(name, 0, f"{name}/s0"): reader.Layers({"weights/image/0": row}, {"image": (1, 2)})}
        for name, row in (("low", np.array([1.0, np.nan])), ("high", np.array([np.nan, 1.0])))
    )
    assert "nothing to subtract" in words(difference.plot_difference(one, other, ("low", "high"), "weights"))


def test_differences_are_of_the_same_level_on_both_sides() -> None:
    """Sides of other levels, and one with a previous state: by position, level 3 was subtracted from level 2."""
    one, other = (
        {StudyRun("x", 0, "x/s0"): reader.Layers({"weights/image/0": np.array(row)}, {"image": levels})}
        for row, levels in (([0.3, 0.7], (2, 3)), ([0.2, 0.5, 0.3], (1, 2)))
    )
    (drawn,) = difference.plot_difference(one, other, ("trained", "before"), "weights").data
    assert (list(drawn.x), drawn.z[0]) == (["1", "2", "3"], [None, pytest.approx(-0.2), None])


def test_unrelated_seeds_agree_by_chance_alone() -> None:
    """As rows of zeros, levels that are not offered would be what all seeds have in common."""
    dice, inside, levels = np.random.default_rng(0), 0, {"text": tuple(range(1, 7))}
    for _ in range(40):
        rows = np.where(np.arange(6) == 2, np.nan, dice.dirichlet(np.ones(6), size=(4, 3)))
        made = {
            StudyRun("x", n, f"x/s{n}"): reader.Layers(
                {f"contributions/text/{depth}": row for depth, row in enumerate(each)}, levels
            )
            for n, each in enumerate(rows)
        }
        (each,) = [each for each in agreement.seed_agreements(made) if each.modality == "text"]
        assert each.mean is not None
        assert each.chance is not None
        inside += each.chance[0] <= each.mean <= each.chance[1]
    assert inside >= 34


def test_levels_that_a_bridge_does_not_read_are_no_agreement() -> None:
    """Each layer takes one level, by its configuration: no seed has chosen it, and none has learned it."""
    dice, levels = np.random.default_rng(0), {"text": (1, 2, 3)}
    made = {
        StudyRun("bridge", n, f"x/s{n}"): reader.Layers(
            {f"contributions/text/{depth}": np.eye(3)[depth] * dice.uniform(0.2, 0.8) for depth in range(3)}, levels
        )
        for n in range(5)
    }
    (each,) = [each for each in agreement.seed_agreements(made) if each.modality == "text"]
    assert (each.mean, each.note) == (None, "no contributions of several levels")


def test_tables_and_trackers_leave_them_out(study: Study) -> None:
    rows = [
        row
        for source, layers in study.layers.items()
        for row in layer_table.layer_rows(source, layers, study.worths[source])
    ]
    assert {row["level"] for row in rows if row["modality"] == "image"} == {*OFFERED, None}
    for format_ in layer_tables.FORMATS:
        assert not says_nan(layer_tables.render_text("trial", rows, "val/accuracy", format_))
    layers = next(iter(study.layers.values()))
    names = {name.rpartition("/")[2] for name in layer_metrics(layers) if name.startswith("weight/image/layer 2/")}
    assert names == {"level 2", "level 4", "level 5", "previous 1"}
    assert most_telling(study.layers) is not None


def test_worth_is_shown_of_levels_that_the_first_layer_is_not_offered() -> None:
    values = {"contributions/image/0": np.array([1.0, np.nan]), "contributions/image/2": np.array([np.nan, 1.0])}
    layers, source = reader.Layers(values, {"image": (1, 3)}, first_layer=0), StudyRun("static", 0, "x/s0")
    rows = list(layer_table.layer_rows(source, layers, worth({"1": 0.5, "3": 0.6})))
    last = layer_tables.modality_tables(rows, "val/accuracy")["image"].lines[-1]
    assert [cell.text for cell in last] == ["", "worth", "+20.0", "+10.0", ""]


def test_tokens_have_no_share_of_them(tokens: reader.Tokens) -> None:
    found = token_levels(tokens, 0, "image", 1)
    assert found
    for each in found:
        assert [level for level, share in zip(each.levels, each.shares, strict=True) if share is None] == [3]
        assert list(each.parts) == [*(f"level {level}" for level in OFFERED), "previous"]
        assert each.level in OFFERED
        sizes = [share for share in each.shares if share is not None]
        assert each.strength == pytest.approx((max(sizes) / sum(sizes) - 1 / 3) / (1 - 1 / 3))


def test_views_of_tokens_show_a_dash_or_nothing(tokens: reader.Tokens) -> None:
    drawn = Console(file=io.StringIO(), width=100)
    drawn.print(render_tokens(tokens, 0))
    text = drawn.file.getvalue()  # type: ignore[attr-defined]
    assert not says_nan(text)
    assert "–" in next(line for line in text.splitlines()[::-1] if "layer 2" in line)
    run = StudyRun("adaptive", 0, "x/s0")
    figure = by_family.plot_levels_by_family({run: tokens}, "adaptive")
    assert not says_nan(words(figure))
    (line, *_) = lines(figure, "colour", 2, 1)
    assert list(line.x) == OFFERED
    inspected = Inspection("x", "best", tokens, 0, lambda _: reader.Missing("gone"))
    said = summary(inspected, "contributions")
    assert said["image"]["layers"][0]["tokens"][0]["parts"][1] is None
    json.dumps(said, allow_nan=False)
    page = token_data([RecordedRun("x", tokens, lambda _: reader.Missing("gone"))])
    json.dumps(page, allow_nan=False)
    assert {row[3] for row in page["runs"][0]["examples"][0]["parts"]["contributions/image/1"]} == {None}


def test_a_weight_that_a_previous_state_lacks_is_null() -> None:
    values = {"weights/image/0": np.array([0.25, 0.75, np.nan]), "contributions/image/0": np.array([0.2, 0.3, 0.5])}
    rows = [*layer_table.layer_rows(StudyRun("a", 0, "a/s0"), reader.Layers(values, {"image": (1, 2)}), None)]
    assert [(row["source"], row["weight"], row["contribution"]) for row in rows] == [
        ("level 1", 0.25, 0.2),
        ("level 2", 0.75, 0.3),
        ("previous 1", None, 0.5),
    ]
    written = layer_tables.render_text("s", rows, "val/accuracy", "json")
    assert json.loads(written, parse_constant=pytest.fail)["rows"][2]["weight"] is None
