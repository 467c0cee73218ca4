"""docs/managers.md is what the registry says now."""

import csv
import re
from collections import defaultdict
from statistics import fmean

import counting
import findings
import forest
import managers_page
import matching
import mechanisms
import pytest
from pages import PUBLISHED, assert_published

from mtlab.config import yaml
from mtlab.config.load import recipe_folders
from mtlab.config.nodes import lookup_options
from mtlab.managers.base import MANAGERS
from mtlab.resolution.catalog import catalogue

WRITTEN = managers_page.PAGE.read_text()
OURS = [entry for entry in MANAGERS if entry.is_builtin]


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_docs_and_reads_are_current(entry: object) -> None:
    assert "\n".join(managers_page.description(entry)) in WRITTEN, "run `make managers`"


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_options_are_current_and_a_source_is_named(entry: object) -> None:
    assert "\n".join(managers_page.option_rows(entry)) in WRITTEN, "run `make managers`"
    assert "Source:" in managers_page.description(entry)[2]


COSTS = re.compile(r"^Cost: .*$", re.MULTILINE)
ONE_OF_EACH = {entry.origin.split(".")[-2]: entry for entry in OURS}  #: room → a manager: counting all takes a minute


def test_the_whole_page_is_current_but_for_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managers_page, "cost", lambda _: (0, 0))
    assert COSTS.sub("", managers_page.page()) == COSTS.sub("", WRITTEN), "run `make managers`"


@pytest.mark.slow
def test_costs_are_current() -> None:
    base = managers_page.cost("last")
    for entry in ONE_OF_EACH.values():
        assert managers_page.section(entry, base) in WRITTEN, "run `make managers`"


@pytest.mark.parametrize("name", [*findings.SHIPPED, "experts"])
def test_what_was_found_is_the_mean_of_the_published_runs(name: str) -> None:
    results = findings.ROOT / "analysis/results"
    reported = list(csv.DictReader((results / f"{name}_report.csv").open()))
    metric = reported[0]["metric"]
    scores = defaultdict(list)
    for run in csv.DictReader((results / f"{name}_runs.csv").open()):
        scores[run["label"]].append(float(run[metric]))
    assert {row["label"] for row in reported} == scores.keys()
    for row in reported:
        assert int(row["n"]) == len(scores[row["label"]])
        assert float(row["mean"]) == pytest.approx(fmean(scores[row["label"]]), abs=1e-5)


def test_a_difference_names_what_it_is_against() -> None:
    against = {finding.place.split("]")[0]: finding.against for finding in findings.findings()["static"]}
    assert against["[CNN"] == "bridge (1 3 5)"
    assert against["[CNN, repeated"] == "bridge 1 3 4"
    assert against["[CNN, options, one rate"] == "bridge (1 3 4)"
    assert against["[ViT"] == "bridge, own maps (2 6 8)"
    (baseline, *others) = [finding.cells() for finding in findings.findings()["bridge"] if "repeated" in finding.place]
    assert baseline[4:] == ("—", "—", "baseline")
    assert all(cells[5] == "bridge 1 3 4" for cells in others)


@pytest.mark.parametrize(
    "name",
    [
        "sweep_managers_all",
        "sweep_managers_all_first",
        "managers_all",
        "queries",
        "queries_rate",
        "judge_cnn_levels",
        "judge_vit",
        "sweep_mechanisms_vit",
        "sweep_managers_shapes",
        "sweep_managers_clipart",
        "sweep_clipart_kinds",
        "sweep_clipart_vit",
        "sweep_shapes_medium",
        "sweep_shapes_medium_bridges",
        "shapes_medium_batches",
        "shapes_medium_batches_rate",
        "shapes_medium_count",
        "shapes_medium_count_bridges",
        "shapes_hard",
        "shapes_hard_rate",
        "shapes_hard_others",
        "shapes_hard_others_rate",
        "shapes_hard_again",
        "shapes_hard_again_level",
        "shapes_hard_twice",
        "shapes_hard_adaptive",
        "shapes_hard_kinds",
        "shapes_hard_concat_rate",
        "shapes_hard_vit",
        "bridge_or_sum",
        "mmfuser_vit_again",
        "vit_until_decided",
        "vit_rates_judged",
        "sweep_cnn_rates",
        "depth_longer",
        "depth_parts",
        "depth_vit",
        "levels_longer",
        "robustness",
    ],
)
def test_the_table_of_a_comparison_is_what_its_command_prints(name: str) -> None:
    assert "\n".join(findings.comparison(name)) in PUBLISHED, f"run `python tools/findings.py {name}`"


def test_the_table_of_optimisers_is_what_its_command_prints() -> None:
    page = (findings.ROOT / "docs" / "optimisation.md").read_text(encoding="utf-8")
    assert "\n".join(findings.optimisation()) in page
    assert "\n".join(findings.batch_sizes()) in page
    assert "\n".join(findings.batch_trials()) in page
    assert "\n".join(counting.hard()) in page
    assert "\n".join(counting.longer()) in page


def test_the_tables_of_rates_are_what_their_commands_print() -> None:
    assert "\n".join(findings.vit_rates()) in PUBLISHED
    assert "\n".join(findings.medium_shapes()) in PUBLISHED


def test_the_tests_that_no_report_makes_are_what_their_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    mechanisms.main()
    assert_published(
        capsys.readouterr().out,
        ("F = 1.56, p = 0.15", "F(11, 44) = 1.56, p = 0.15"),
        ("true means: 0.18 (0.00 to 0.46)", "as 0.2 points, with 0 to 0.46"),
        ("letter 0.014", "p = 0.014"),
        ("Spearman 0.63, p = 0.012", "Spearman 0.63, p = 0.012"),
        ("factor 1.55: Spearman 0.16, p = 0.45", "a factor of 1.55"),
        ("F(9, 18) = 4.42, p = 0.0036", "F(9, 18) = 4.42, p = 0.004"),
        ("-0.95 ± 0.97 (p = 0.052)", "−0.9 ± 1.0"),
        ("easy shapes, image level 4 less the bridge, count: -5.34 ± 2.99", "5.3 ± 3.0 behind"),
        ("easy shapes, image level 4 less the bridge, without spatial: -1.11 ± 0.39", "1.1 ± 0.4 behind in all"),
        ("easy shapes, image level 5 less the bridge, without spatial: -3.94 ± 0.30", "level 5 3.9 ± 0.3 (paired t"),
        ("easy shapes, image level 5 less image level 4: -4.56 ± 4.77", "level 4 is 4.6 ± 4.8 above it in the mean"),
        ("easy shapes, mean less the bridge, count: +0.84 ± 1.74", "count 0.8 ± 1.7 (s) and 1.9 ± 6.6 (s) better"),
        ("easy shapes, static less the bridge, count: +1.88 ± 6.57", "count 0.8 ± 1.7 (s) and 1.9 ± 6.6 (s) better"),
        ("easy shapes, bridge 1 3 4 less the bridge, count: -1.28 ± 5.99", "on 1, 3, 4 1.3 ± 6.0 (s) worse"),
        ("medium shapes, image level 4 less the bridge, count: -4.91 ± 4.83", "counting (−4.9 ± 4.8 (s))"),
        ("medium shapes, image level 4 less the bridge, comparison: -3.97 ± 1.68", "comparison (−4.0 ± 1.7 (s))"),
        ("medium shapes, image level 5 less the bridge, count: -8.53 ± 0.77", "counting (−8.5 ± 0.8 (s))"),
        ("medium shapes, image level 5 less the bridge, shape: -4.72 ± 1.74", "shape (−4.7 ± 1.7 (s))"),
        ("medium shapes, image level 5 less the bridge, colour: -3.03 ± 0.34", "colour (−3.0 ± 0.3 (s))"),
        ("medium shapes, image level 5 less image level 4: -1.92 ± 2.40", "in the mean again (+1.9 ± 2.4 (s))"),
        ("medium shapes, static less the bridge, validation: +0.60 ± 1.44", "of the same runs +0.6 to +0.7"),
        ("medium shapes, adaptive less the bridge, validation: +0.71 ± 1.17", "of the same runs +0.6 to +0.7"),
        ("medium shapes, mean less the bridge, count: +2.53 ± 1.80", "In counting `mean` has +2.5 ± 1.8 (s)"),
        ("medium shapes, mean less image level 4: +2.86 ± 0.35", "2.6 to 2.9 ahead of level 4 alone (± 0.3 to"),
        ("medium shapes, static less image level 4: +2.55 ± 0.77", "2.6 to 2.9 ahead of level 4 alone (± 0.3 to"),
        ("test/accuracy, bridge, batches of 32 less bridge: +2.01 ± 1.48", "two rates it is +2.0 ± 1.5 (s)"),
        ("spatial, bridge, batches of 32 less bridge: +7.94 ± 5.35", "spatial relations (+7.9 ± 5.3 (s))"),
        (
            "second search, test/accuracy, static 3 4 5 less bridge: +1.41 ± 4.04",
            "+1.4 ± 4.0 (s) from the bridge with 128",
        ),
        ("own batches, shapes, mean less image level 4: +3.51 ± 2.30", "level 4**: `mean` +3.5 ± 2.3 (s)"),
        ("own batches, shapes, adaptive less image level 4: +1.06 ± 1.00", "by 1.1 to 3.7 on medium and hard shapes"),
        (
            "own batches, test/accuracy/count, adaptive less mean: -4.04 ± 2.32",
            "counts 4.0 ± 2.3 (s) and 3.2 ± 2.8 (s)",
        ),
        ("own batches, count: mean better, +4.96, p = 0.013", "by 5.0 ± 1.4 (p = 0.013)"),
        ("own batches, count: static better, +4.09, p = 0.0041", "and 4.1 ± 0.9 points (p = 0.004"),
        ("own batches, test/accuracy/spatial, adaptive less bridge: -5.01 ± 4.42", "`adaptive` −5.0 ± 4.4 (s)"),
        (
            "own batches, test/accuracy, adaptive, 1e-3 less adaptive: +0.37 ± 2.73",
            "place of 0.8 ± 0.9 (four of the seeds",
        ),
        ("own batches, area, adaptive less bridge: -9.67 ± 4.48", "areas 9.7 ± 4.5 (s) and 4.3 ± 3.0 (s) smaller"),
        ("test/accuracy, adaptive less static: +0.28 ± 0.37", "on draw 3 +0.3 ± 0.4 (area +1.3 ± 0.3"),
        ("test/accuracy, static less static 1 3 4: +3.31 ± 0.74", "All levels are 3.3 ± 0.7 ahead of three"),
        ("clip art, area, adaptive less static: -0.61 ± 0.54", "(area −0.6 ± 0.5, not planned)"),
        ("depth, area, static less bridge 1 3 4: +0.44 ± 1.34", "`static` is +0.4 ± 1.3 on draw 4"),
        ("depth_longer, area, static less bridge 1 3 4: -0.56 ± 1.12", "−0.6 ± 1.1 on draw 6"),
        ("until decided, static: 71% of the variance", "about 71 and 64 % of its variance"),
        ("until decided, adaptive: 64% of the variance", "about 71 and 64 % of its variance"),
        ("clip art on the ViT, bridge 4 8 12 less image level 12: +2.24 ± 0.73", "2.2 ± 0.7 (bridge 4 8 12)"),
        ("clip art on the ViT, static less image level 12: +1.42 ± 0.96", "1.4 ± 1.0 (`static`) and 1.5 ± 0.9"),
        ("more kinds on clip art, validation data, static less bridge: +0.92 ± 0.32", "`static` has +0.9 ± 0.3 (s)"),
        ("more kinds on clip art, validation data, static, frozen less bridge: +0.52 ± 0.86", "weights +0.5 ± 0.9 (s)"),
        ("more kinds on clip art, validation data, sparse less bridge: +0.19 ± 0.83", "`sparse` +0.2 ± 0.8 (s)"),
        ("more kinds on clip art, validation less test data, static less bridge: +1.41 ± 0.72", "1.4 ± 0.7 (s)"),
        ("clip art, validation data, static less bridge: +0.19 ± 2.38", "`static` at +0.2 ± 2.4 (s)"),
        (
            "more kinds on clip art, static, frozen less static: -0.32 ± 0.80",
            "0.3 ± 0.8 (s) behind `static`, at another",
        ),
        (
            "more kinds on clip art, cross-attention less static: -0.53 ± 0.83",
            "Cross-attention is 0.5 ± 0.8 (s) behind",
        ),
        ("more kinds on clip art, concat-attention less static: +0.25 ± 0.53", "concat-attention 0.3 ± 0.5 (s) ahead"),
        ("more kinds on clip art, sparse less static: -0.17 ± 0.43", "`sparse` is 0.2 ± 0.4 (s) behind"),
        ("clip art, mean less image level 5: +1.51 ± 1.28", "1.5 ± 1.3, 2.1 ± 2.3 and 1.7 ± 1.9 ahead"),
        ("all less static, top 2: +21.52 ± 2.64", "All less the top two is +21.5 ± 2.6"),
        ("all less static, top 3: +10.38 ± 13.72", "less the top three +10 ± 14, not shown"),
        ("letter, adaptive less bridge: -3.00 ± 1.47 (p = 0.0024)", "−3.0 ± 1.5 (`adaptive`)"),
        ("letter, residual adaptive less bridge: -4.41 ± 1.71", "−4.4 ± 1.7 (residual adaptive)"),
        ("residual adaptive less static: -0.64 ± 0.13", "Residual adaptive is 0.6 ± 0.1, 0.9 ± 0.4 and 0.9 ± 0.6"),
        ("object, residual adaptive less bridge: -2.90 ± 1.00", "residual adaptive 2.9 ± 1.0"),
        ("decided, test/accuracy, adaptive less static: +0.31 ± 0.33 (p = 0.061), 6", "+0.3 ± 0.3 from `static`"),
        ("static at 5e-3 less the bridge at 2.5e-3: -0.73 ± 0.56", "0.7 ± 0.6 and 0.6 ± 0.6 behind"),
        ("adaptive at 5e-3 less the bridge at 2.5e-3: -0.56 ± 0.58", "0.7 ± 0.6 and 0.6 ± 0.6 behind"),
        ("first three -0.24", "it was 0.2 and 0.5"),
        ("area, residual adaptive less bridge: -3.39 ± 1.14", "at its rate (−3.4 ± 1.1)"),
        ("seed chooses costs 0.29 in the mean, 1.08 at most, 21", "0.3 points in the mean and 1.1 at most (21 choices"),
        ("letter, bridge 1 3 5 less bridge: -5.33 ± 1.27", "1, 3, 5 is 5.3 ± 1.3 points behind in letters"),
        ("static less static 1 3 4: +2.33 ± 0.64", "2.3 ± 0.6 ahead of three with `static`"),
        ("static less bridge 1 3 5: +1.35 ± 0.22", "are 1.3 ± 0.2, 0.9 ± 0.6 and 0.9 ± 0.6 ahead of it"),
        ("object, static less bridge: +3.20 ± 0.69", "by 3.2 ± 0.7, 2.9 ± 0.8 and 1.9 ± 1.2, and by 1.3 ± 1.4"),
        ("seeds, area, adaptive less static: +1.26 ± 0.35", "its area is 1.3 ± 0.4 larger"),
        ("seeds, test/accuracy, adaptive less static: -0.42 ± 0.60", "less `static` is −0.4 ± 0.6"),
        ("letter, paired t over seeds: -3.76 ± 2.33 (p = 0.02)", "3.8 ± 2.3 behind there"),
        ("card, bridge 4 6 8 less image 6: +5.22 ± 1.61", "5.2 ± 1.6 (s) behind one on 4, 6, 8"),
        ("less today's, accuracy: -6.73 ± 6.77", "(−6.7 ± 6.8, p = 0.051) and learns more slowly"),
        ("less today's, area: -7.92 ± 7.56", "more slowly (area −7.9 ± 7.6, p = 0.046;"),
        ("best before the end, levels_longer, all: 16 of 20", "before the end in 16 of 20 runs"),
        ("draw 5, image level 3 in each layer less image level 3: +2.14 ± 0.97", "on draw 5 it was +2.1 ± 1.0"),
        ("longer, letter, image level 3 less bridge 1 3 4: -22.86 ± 6.68", "letters (−22.9 ± 6.7)"),
        ("longer, object, image level 3 less bridge 1 3 4: -13.40 ± 1.30", "objects (−13.4 ± 1.3)"),
        ("longer, shade, image level 3 less bridge 1 3 4: -15.10 ± 1.86", "the ground (−15.1 ± 1.9)"),
        (
            "longer, image level 3 in each layer less image level 3: +0.43 ± 2.65",
            "the level is +0.4 ± 2.7 from the first layer",
        ),
        ("draw 2, bridge less image level 6: +8.80 ± 1.44", "the bridge with a shared one was 8.8 ± 1.4 ahead"),
    )


@pytest.mark.parametrize("name", matching.PUBLISHED)
def test_what_matching_adds_is_what_its_command_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    matching.summary(name)
    assert capsys.readouterr().out in PUBLISHED


def test_the_means_over_draws_are_what_their_command_prints() -> None:
    told = list(forest.table())
    for manager, found in (("static", "+0.2 (−0.3 to +0.7)"), ("adaptive", "+0.3 (−0.3 to +0.9)")):
        assert f"{manager} less bridge 1 3 4, without draw 2: {found}" in told
        assert found in PUBLISHED
    for manager, found in (("static", "+0.0 (−0.6 to +0.7)"), ("adaptive", "+0.2 (−0.4 to +0.7)")):
        assert f"{manager} less bridge 1 3 4, 5 draws: {found}" in told
        assert f"`{manager}` {found}" in PUBLISHED or f"`{manager}` is {found}" in PUBLISHED


def test_the_means_over_draws_of_the_vit_are_what_their_command_prints() -> None:
    told = list(forest.table())
    for manager, found in (("static", "−0.7 (−1.9 to +0.4)"), ("adaptive", "−0.6 (−1.6 to +0.3)")):
        assert f"{manager} less bridge 2 6 8, by hand, 3 draws: {found}" in told
        assert found in PUBLISHED
    assert "static less bridge 2 6 8, by hand, with draw 0: −0.6 (−1.4 to +0.2)" in told
    assert "`static` −0.6 (−1.4 to +0.2) | not planned |" in PUBLISHED


def test_adaptive_less_static_over_draws_is_what_its_command_prints() -> None:
    told = list(forest.table())
    assert "adaptive less static, 8 draws, draw 9 at 5e-3: +0.1 (−0.2 to +0.3)" in told
    assert "adaptive less static, 8 draws, draw 9 at 2.5e-3: −0.0 (−0.3 to +0.3)" in told
    assert "mean less static, 5 draws: −0.1 (−0.4 to +0.1)" in told
    assert "`layered`, mean over draws 0, 1, 5, 14 and, not tuned, 21 | −0.1 (−0.4 to +0.1)" in PUBLISHED
    assert "draw 9 at 5e-3; at 2.5e-3 | +0.1 (−0.2 to +0.3); −0.0 (−0.3 to +0.3) |" in PUBLISHED


def test_the_draw_without_tuning_is_told_beside_the_others() -> None:
    told, published = list(forest.table()), " ".join(PUBLISHED.split())
    for rate, found in (("rate 2.5e-3", "−0.9 (−1.4 to −0.3)"), ("rate 5e-3", "−0.9 (−2.1 to +0.3)")):
        assert f"adaptive less static, draw 21, {rate}, over seeds: {found}" in told
    assert "adaptive less static, 9 draws, draw 9 at 5e-3 and draw 21: −0.0 (−0.4 to +0.3)" in told
    assert "adaptive less static, 9 draws, draw 9 at 2.5e-3 and draw 21: −0.1 (−0.4 to +0.2)" in told
    assert "(−0.9 ± 1.2 at 5e-3, −0.9 ± 0.6 at 2.5e-3," in published
    assert "draws 9 and 21 at 5e-3; at 2.5e-3 | −0.0 (−0.4 to +0.3); −0.1 (−0.4 to +0.2) |" in published
    assert "static less bridge 1 3 4, with draw 21 at 5e-3: +0.0 (−0.4 to +0.5)" in told
    assert "adaptive less bridge 1 3 4, with draw 21 at 5e-3: +0.0 (−0.6 to +0.6)" in told
    assert "are +0.0 (−0.4 to +0.5) and +0.0 (−0.6 to +0.6) from 1, 3, 4" in published


def test_the_table_of_layers_is_what_its_command_prints() -> None:
    assert "\n".join(findings.layers()) in PUBLISHED


def test_the_table_of_the_search_is_what_its_command_prints() -> None:
    lines = [line.strip() for line in (findings.ROOT / "analysis/predictions.md").read_text().splitlines()]
    assert "\n".join(findings.search()) in "\n".join(lines), "run `python tools/findings.py search`"


@pytest.mark.parametrize("name", findings.TRIED)
def test_the_table_of_what_was_tried_is_what_its_command_prints(name: str) -> None:
    lines = [line.strip() for line in (findings.ROOT / "analysis/predictions.md").read_text().splitlines()]
    assert "\n".join(findings.tried(name)) in "\n".join(lines), f"run `python tools/findings.py {name}`"


PRESETS = [entry["name"] for entry in catalogue("presets") if entry["name"].startswith("presets/literature/")]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_of_the_literature_has_options_that_its_manager_takes(name: str) -> None:
    node = yaml.read(recipe_folders()[0] / f"{name}.yaml").data["set"]["manager"]
    lookup_options(MANAGERS, node, "manager")
