"""The levels that families of questions draw on, from hand-made recordings."""

import dataclasses

import numpy as np
import pytest

from mtlab.recording.reader import RecordedExample, Tokens
from mtlab.report.figures.layers.by_family import families, family_levels, plot_levels_by_family
from mtlab.report.recordings import StudyRun


def recorded(first: float) -> Tokens:
    """Three questions of two words, the second of one word; two levels and a previous state."""
    weights = np.array(
        [
            [[first, first], [1 - first, 1 - first], [9, 9]],  # a colour
            [[0.0, 7.0], [1.0, 7.0], [9, 9]],  # a shape, whose second word is padding
            [[0.4, 0.6], [0.6, 0.4], [9, 9]],  # another shape
        ]
    )
    examples = tuple(
        RecordedExample(f"val/{n}", family, "?", "val/0", ("a", "b"))
        for n, family in enumerate(("colour", "shape", "shape"))
    )
    mask = np.array([[1, 1], [1, 0], [1, 1]])
    return Tokens({"weights/text/1": weights, "mask/text": mask}, {"text": (3, 6), "image": (1,)}, examples)


def test_levels_are_averaged_over_real_tokens_and_then_over_a_familys_examples() -> None:
    levels = family_levels(recorded(0.9), "weights", "text", 1)
    assert list(levels) == ["colour", "shape"]
    assert levels["colour"] == pytest.approx([0.9, 0.1])
    assert levels["shape"] == pytest.approx([0.25, 0.75])  # of (0, 1) without padding, and (0.5, 0.5)


def test_the_figure_has_a_line_per_family_with_the_mean_of_the_seeds() -> None:
    found = {StudyRun("adaptive", seed, f"a/s{seed}"): recorded(first) for seed, first in enumerate((0.9, 0.5))}
    figure = plot_levels_by_family(found, "adaptive", "weights")
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert set(lines) == {"colour", "shape"}
    assert list(lines["colour"].x) == [3, 6]
    assert list(lines["colour"].y) == pytest.approx([0.7, 0.3])
    assert "1 to 2 validation examples of each family" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_families_may_have_short_names() -> None:
    tokens = recorded(0.9)
    short = tuple(dataclasses.replace(each, family=each.family[0]) for each in tokens.examples)
    found = {StudyRun("adaptive", 0, "a/s0"): Tokens(tokens.values, tokens.levels, short)}
    lines = {trace.name: trace for trace in plot_levels_by_family(found, "adaptive", "weights").data if trace.name}
    assert {name: list(line.x) for name, line in lines.items()} == {"c": [3, 6], "s": [3, 6]}


def test_what_was_measured_by_removal_is_named() -> None:
    tokens = recorded(0.9)
    values = {"contributions/text/1": tokens.values["weights/text/1"], "by_removal/text/1": np.ones((3, 1))}
    found = {StudyRun("product", 0, "a/s0"): Tokens(values, tokens.levels, tokens.examples)}
    caption = plot_levels_by_family(found, "product").layout.meta["caption"]
    assert "No sum, so by removal of each state: product." in caption


def test_without_families_or_recordings_it_says_why() -> None:
    run = StudyRun("adaptive", 0, "a/s0")
    silent = Tokens({}, {}, recorded(0.5).examples)
    assert families({run: silent}) == ["colour", "shape"]
    for found in ({}, {run: silent}):
        figure = plot_levels_by_family(found, "adaptive")
        assert not figure.data
        assert "nothing to show" in str(figure.layout.annotations)
