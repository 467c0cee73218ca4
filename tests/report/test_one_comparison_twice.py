"""Two rows may be one cell, at equal steps and at equal FLOPs: what they compare counts once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fabric import FAMILIES, Fabric

from mtlab.report.comparison.verdict import verdict_sentence
from mtlab.report.formats.captions import looks_caption
from mtlab.report.study_report import build_report

BRIDGE, STATIC = (0.70, 0.71, 0.72, 0.73), (0.71, 0.74, 0.735, 0.765)


def twice(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Give each row of a plan a second time, as one that is trained for as many FLOPs."""
    return {
        **plan,
        "rows": [row | {"label": f"{row['label']} · {at}"} for at in ("steps", "FLOPs") for row in plan["rows"]],
    }


@pytest.fixture
def plan(fabric: Fabric) -> dict[str, Any]:
    for seed, (bridge, static) in enumerate(zip(BRIDGE, STATIC, strict=True)):
        fabric.finish("bridge", seed, bridge)
        fabric.finish("static", seed, static)
    return fabric.plan(["bridge", "static"], seeds=4)


def test_the_correction_counts_it_once(fabric: Fabric, plan: dict[str, Any]) -> None:
    once, again = (build_report(fabric.store, each) for each in (plan, twice(plan)))
    assert (once.comparisons, again.comparisons) == (1, 1)
    p, both = once.rows[1].p_corrected, [row.p_corrected for row in again.rows if row.compare_to]
    assert both == [p, p]
    assert (once.family_comparisons, again.family_comparisons) == (len(FAMILIES), len(FAMILIES))
    for family, rows in again.families.items():
        assert rows[3].p_corrected == rows[1].p_corrected == once.families[family][1].p_corrected


def test_so_do_looks(fabric: Fabric, plan: dict[str, Any]) -> None:
    rules = {"looks": [2, 4], "first": 0, "spending": "obrien_fleming", "levels": [0.01, 0.04], "spent": [0.01, 0.05]}
    report = build_report(fabric.store, twice(plan) | {"equivalence": 0.03, "sequential": rules})
    assert report.comparisons == 1
    assert "0 of 1 comparison has ended" in looks_caption(report)


def test_so_does_the_sentence_of_what_was_found(fabric: Fabric, plan: dict[str, Any]) -> None:
    fabric.finish("last", 0, 0.5)
    given = fabric.plan(["bridge", "static", "last"], seeds=4)
    for each in (given, twice(given)):
        told = verdict_sentence(build_report(fabric.store, each))
        assert "On test/accuracy (p ≤ 0.05 after Holm): no difference" in told
