"""docs/results*.md say of counting and of hard shapes what tools/counting.py prints."""

import counting
from findings import read_table
from pages import PUBLISHED, assert_published


def test_what_is_said_of_hard_questions_is_what_its_command_prints() -> None:
    assert_published(
        "\n".join(counting.hard_tests()),
        ("accuracy, static less image level 4: +3.73 ± 2.29", "`static` is 3.7 ± 2.3 (s) ahead of level 4"),
        ("accuracy, image level 4 less bridge, 2e-3: +0.46 ± 1.63", "0.5 ± 1.6 (s) ahead of the one at 2e-3"),
        ("accuracy, bridge, 2e-3 less bridge: +0.92 ± 3.43", "0.9 ± 3.4 (s) more at 2e-3 than at 1e-3"),
        ("comparison, static less bridge: +8.97 ± 4.29", "in comparison (+9.0 ± 4.3 (s), p = 0.050)"),
        ("comparison, static less bridge, 2e-3: +8.57 ± 7.12", "comparison +8.6 ± 7.1 (s)"),
        ("spatial, static less bridge: +14.40 ± 16.92", "spatial relations (+14.4 ± 16.9 (s))"),
        ("area, static less bridge: +5.31 ± 2.72", "(+5.3 ± 2.7 (s) at 1e-3"),
        ("Holm over 3: static 0.039, image level 4 0.31, bridge, 2e-3 0.022", "read (0.039 and 0.022)"),
        ("without spatial, static less bridge: +3.26 ± 1.17", "Without them the difference is 3.3 ± 1.2 (s)"),
        ("without spatial, static less bridge, 2e-3: +3.44 ± 1.51", "3.4 ± 1.5 (s) without the latter"),
        ("accuracy, static 3 4 5 less bridge: +3.64 ± 4.14", "3.6 ± 4.1 (s) ahead of the bridge (p = 0.071"),
        ("without spatial, static 3 4 5 less bridge: +2.13 ± 1.49", "it is 2.1 ± 1.5 (s) and 2.3 ± 2.5 (s) ahead"),
        ("count, static 3 4 5 less bridge: +3.86 ± 1.88", "counts 3.9 ± 1.9 (s) better than the bridge at 1e-3"),
        ("mixing less levels: +2.16 ± 4.91", "not told apart (2.2 ± 4.9 (s))"),
        ("accuracy, mean less bridge: +5.06 ± 3.56", "5.1 ± 3.6 (s) ahead of the bridge at 1e-3"),
        ("count, bridge 1 3 4, 2e-3 less bridge, 2e-3: +4.15 ± 1.85", "it counts 4.2 ± 1.9 (s) better"),
        ("static 0.078", "0.078 for that at 1e-3, which is then not shown"),
        ("bridge, 2e-3 0.044, bridge 1 3 4 0.03", "0.044 for the one on the top three at 2e-3"),
        ("bridge 1 3 4, 2e-3 0.046", "0.030 and 0.046 for the bridge on 1, 3, 4 at 1e-3 and 2e-3"),
        ("accuracy, bridge 1 3 4 less bridge 1 3 4, 2e-3: +0.98 ± 2.45", "it has 1.0 ± 2.5 (s) less than at 1e-3"),
        ("without spatial, static less bridge 1 3 4, 2e-3: +2.61 ± 2.33", "it is 2.6 ± 2.3 (s) behind `static`"),
        (
            "accuracy, bridge 1 3 4, 2e-3 less bridge, 2e-3: -2.03 ± 4.27",
            "−0.1 ± 4.9; −2.0 ± 4.3; −3.0 ± 2.4 | not planned",
        ),
        ("area, static less mean: +0.32 ± 0.72", "(area 0.3 ± 0.7 (s) smaller)"),
        ("without spatial, static less bridge 1 3 4: +1.79 ± 0.77", "it is 1.8 ± 0.8 (s) behind `static`"),
        ("count, bridge 1 3 4 less bridge: +2.30 ± 2.27", "It counts 2.3 ± 2.3 (s) better"),
        ("count, static less bridge 1 3 4: +4.05 ± 2.27", "4.1 ± 2.3 (s) worse than `static`"),
        ("without spatial, image level 4 less bridge: -0.72 ± 1.81", "it is 0.7 ± 1.8 (s) and 0.5 ± 2.2 (s) behind"),
    )


def test_what_is_said_of_another_draw_is_what_its_command_prints() -> None:
    assert_published(
        "\n".join(counting.again_tests()),
        ("without spatial, static less bridge: +2.42 ± 1.05", "it is 2.4 ± 1.1 (s) ahead of the top three"),
        ("without spatial, static less bridge 1 3 4: +1.38 ± 0.91", "and 1.4 ± 0.9 (s) of 1, 3, 4"),
        ("spatial, static less bridge: +5.62 ± 8.54", "5.6 ± 8.5 (s) behind"),
        ("area, static less bridge 1 3 4: +3.58 ± 1.65", "Its area is 3.6 ± 1.6 (s) more"),
        ("accuracy, bridge less bridge 1 3 4: +2.97 ± 2.39", "is 3.0 ± 2.4 (s) behind that on the top three"),
        ("without spatial, bridge less bridge 1 3 4: -1.03 ± 0.77", "it is 1.0 ± 0.8 (s) ahead"),
        ("count, bridge less bridge 1 3 4: -3.50 ± 1.26", "counts 3.5 ± 1.3 (s) better"),
        (
            "accuracy, bridge less image level 4: +0.51 ± 3.08 (p = 0.67)",
            "0.5 ± 3.1 (s) behind the one on the top three (p = 0.67;",
        ),
        ("accuracy, bridge 1 3 4 less image level 4: -2.46 ± 4.03", "2.5 ± 4.0 (s) ahead of the one on 1, 3, 4"),
        ("spatial, bridge 1 3 4 less image level 4: -25.52 ± 10.74", "relations it is 25.5 ± 10.7 (s) ahead"),
        ("count, static less image level 4: +6.25 ± 4.93", "counting (6.3 ± 4.9 (s)) and"),
        ("comparison, static less image level 4: +9.91 ± 10.08", "comparison (9.9 ± 10.1 (s)), neither"),
        ("both draws, static less image level 4: +3.60 ± 1.84", "of both draws together it is 3.6 ± 1.8 (s)"),
        ("both draws, static less bridge: +3.57 ± 1.28", "pooled alike, are 3.6 ± 1.3 (s)"),
        ("both draws, static less bridge 1 3 4: +5.58 ± 1.10", "and 5.6 ± 1.1 (s) behind)"),
        (
            "accuracy, bridge less bridge, 32,000 steps: -0.86 ± 1.57",
            "it has 0.9 ± 1.6 (s) more than after 16,000 steps",
        ),
        ("count, bridge less bridge, 32,000 steps: +0.55 ± 1.92", "It counts 0.5 ± 1.9 (s) worse"),
        ("without spatial, static less bridge, 32,000 steps: +2.15 ± 1.24", "it is 2.1 ± 1.2 (s) behind `static`"),
        ("Holm over 2: bridge, 32,000 steps 0.064, adaptive 0.25", "declared together has 0.064"),
        ("Holm over 10: bridge 0.16, bridge 1 3 4 0.0021", "0.26, and 0.16 for the same bridge after"),
        (
            "image level 4 0.42, bridge, 32,000 steps 0.26, adaptive 0.69, static, frozen 0.69, concat-attention 0.41",
            "0.002, level 4 0.42, `sparse` and concat-attention at 2e-3 0.41, the rest 0.69.",
        ),
        ("without spatial, static less adaptive: +1.00 ± 0.65", "it is 1.0 ± 0.7 (s) behind (not planned)"),
        (
            "area, static less adaptive: +1.81 ± 2.65 (p = 0.13)",
            "area is 1.8 ± 2.6 smaller at the same rate",
        ),
        ("Holm over 3: bridge 0.035, bridge 1 3 4 0.00064, image level 4 0.084", "0.035 for the one on the top three"),
    )


def test_a_run_that_was_repeated_with_newer_code_is_the_same() -> None:
    (again,) = read_table("shapes_hard_repeated", "runs")
    (first,) = (run for run in read_table("shapes_hard_twice", "runs") if run["run"] == again["run"])
    assert again["mix/git"] != first["mix/git"]
    scores = [column for column in first if column.startswith(("val/", "test/", "area", "best_step"))]
    assert [again[column] for column in scores] == [first[column] for column in scores]


def test_what_is_said_of_counting_is_what_its_commands_print() -> None:
    assert "\n".join(counting.worth()) in PUBLISHED
    assert "\n".join(counting.bridges()) in PUBLISHED
    assert_published(
        "\n".join(counting.tests()),
        ("accuracy/count, static less bridge 1 3 4: +1.14 ± 0.53", "on 1, 3, 4 (1.1 ± 0.5 (s)) has p = 0.022"),
        ("accuracy/count, bridge, 1e-3 less bridge: +0.50 ± 1.88", "the bridge counts 0.5 ± 1.9 (s) better"),
        ("accuracy, bridge, 1e-3 less bridge: -1.02 ± 0.24", "has 1.0 ± 0.2 (s) less over all questions"),
        ("accuracy/count, bridge 1 4 5 less bridge: +0.09 ± 1.08", "in the search, 0.1 ± 1.1 (s) here"),
        ("accuracy/count, bridge 1 3 4 less bridge: +3.51 ± 1.16", "1, 3, 4 is not (3.5 ± 1.2 (s)"),
        ("accuracy/count, static less static 3 4 5: +1.86 ± 2.19", "on all, which is 1.9 ± 2.2 (s) ahead of it"),
        ("accuracy/count, static 3 4 5 less bridge 1 3 4: -0.72 ± 2.27", "(0.7 ± 2.3 (s) between them)"),
        ("accuracy/count, static less bridge, 7,320 steps: +4.53 ± 0.70", "4.5 ± 0.7 (s) less than `static`"),
        ("test/accuracy, static less bridge: +1.39 ± 0.44", "`static` is 1.4 ± 0.4 (s) and"),
        ("test/accuracy, mean less bridge: +1.29 ± 1.70", "and `mean` 1.3 ± 1.7 (s) ahead of the bridge"),
        ("test/accuracy, static less bridge, 7,320 steps: +1.01 ± 0.48", "1.0 ± 0.5 (s) and 0.9 ± 1.7 (s) of the"),
        ("test/accuracy, mean less bridge, 7,320 steps: +0.91 ± 1.65", "1.0 ± 0.5 (s) and 0.9 ± 1.7 (s) of the"),
        ("test/accuracy, bridge, 7,320 steps less bridge: +0.38 ± 0.16", "they give it 0.4 ± 0.2 (s)"),
        ("test/accuracy, bridge 1 3 4 less bridge: +0.55 ± 1.11", "on 1, 3, 4 is 0.6 ± 1.1 (s) ahead"),
        ("test/accuracy, static less bridge 1 3 4: +0.83 ± 1.18", "it is 0.8 ± 1.2 (s) behind `static`"),
        ("without counting, static less bridge: +0.73 ± 0.37", "Without counting `static` has +0.7 ± 0.4 (s)"),
        ("without counting, mean less bridge: +0.43 ± 1.68", "`mean` +0.4 ± 1.7 (s), the bridge"),
        ("without counting, bridge 1 3 4 less bridge: -0.04 ± 1.24", "the bridge on 1, 3, 4 −0.0 ± 1.2 (s)"),
        ("area, mean less bridge: -6.48 ± 8.81", "(area −6.5 ± 8.8 (s)"),
    )


def test_what_is_said_of_more_kinds_on_hard_questions_is_what_its_command_prints() -> None:
    assert_published(
        "\n".join(counting.kinds_tests()),
        ("accuracy, static less static, frozen: -0.70 ± 1.20 (p = 0.18)", "0.7 ± 1.2 points ahead (p = 0.18 by itself"),
        (
            "area, static less static, frozen: -1.03 ± 1.13 (p = 0.065)",
            "is 1.0 ± 1.1 larger at the same rate (p = 0.065",
        ),
        ("accuracy, static, frozen less static before: +0.63 ± 0.97", "runs of `static` it is 0.6 ± 1.0 (s) ahead"),
        ("area, static, frozen less static before: +0.51 ± 1.47", "0.5 larger, 0.5 ± 1.5 (s)"),
        (
            "without spatial, static less cross-attention: +1.09 ± 1.76",
            "Without that family it is 1.1 ± 1.8 (s) behind",
        ),
        (
            "count, static less cross-attention: +2.80 ± 2.05 (p = 0.019)",
            "It counts 2.8 ± 2.1 (s) worse (p = 0.019 (s)",
        ),
        ("accuracy, static less sparse: +1.04 ± 1.09 (p = 0.058)", "1.0 ± 1.1 behind (p = 0.058 by itself"),
        ("accuracy, sparse less static before: -1.11 ± 0.86", "runs of `static` it is 1.1 ± 0.9 (s) behind"),
        ("count, static less sparse: +2.41 ± 1.26 (p = 0.0061)", "It counts 2.4 ± 1.3 (s) worse (p = 0.006 (s)"),
        ("area, static less sparse: +1.39 ± 2.04 (p = 0.13)", "Its area is 1.4 ± 2.0 (s) smaller (p = 0.13)"),
        ("area, sparse less static before: -1.91 ± 1.79 (p = 0.042)", "runs of `static` 1.9 ± 1.8 (s) (p = 0.042)"),
        ("without spatial, static less sparse: +0.93 ± 0.63 (p = 0.015)", "it is 0.9 ± 0.6 (s) behind (p = 0.015)"),
        ("area, static less concat-attention, 1e-3: +0.62 ± 4.20", "Its area is 0.6 ± 4.2 (s) smaller"),
        (
            "accuracy, concat-attention less concat-attention, 1e-3: -7.35 ± 8.96 (p = 0.085)",
            "7.4 ± 9.0 (s) less there than at 1e-3",
        ),
    )
    before, anew = (
        {run["seed"]: float(run[counting.METRIC]) for run in read_table(name, "runs") if run["label"] == "static"}
        for name in ("shapes_hard_again", "shapes_hard_kinds")
    )
    assert round(100 * max(abs(anew[seed] - before[seed]) for seed in before), 1) == 0.5


def test_what_is_said_of_hard_questions_on_the_vit_is_what_its_command_prints() -> None:
    assert_published(
        "\n".join(counting.vit_tests()),
        ("bridge 4 8 12 less image level 8: +2.43 ± 1.36", "behind the bridge on 4, 8, 12, by 2.4 ± 1.4 (s)"),
        ("accuracy, image level 8 less bridge: -1.73 ± 1.57", "behind that on the top three, by 1.7 ± 1.6 (s)"),
        ("comparison, static less image level 8: +5.44 ± 2.25", "comparison (−5.4 ± 2.3 (s))"),
        ("accuracy, bridge 4 8 12 less bridge: +0.71 ± 0.88", "0.7 ± 0.9 (s) ahead of that on the top three"),
        ("area, static less image level 8: +2.46 ± 3.14", "its area is 2.5 ± 3.1 (s) smaller"),
        ("planned, bridge 4 8 12 less static: +0.03 ± 3.83 (p = 0.98)", "+0.0 ± 3.8 (p = 0.98)"),
        ("planned, image level 8 less static: -6.58 ± 3.10 (p = 0.019)", "(−6.6 ± 3.1, planned, p = 0.019 after Holm"),
        ("image level 8 0.039, bridge 0.34, bridge 4 8 12 1, image level 8 0.039", "comparisons both have 0.039"),
        ("planned, bridge less static: -1.84 ± 2.34 (p = 0.18)", "−1.8 ± 2.3 (p = 0.18)"),
    )
