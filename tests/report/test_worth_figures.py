"""Figures of what levels and their choice are worth: what is lost without a level, in all and by family."""

import dataclasses

import numpy as np
import pytest
from recorded_study import Study, lines, words

from mtlab.report.figures.layers import replaced_weights, worth


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def test_worth_sets_drops_beside_weights(study: Study) -> None:
    figure = worth.plot_worth(study.layers, study.worths)
    (line,) = lines(figure, "adaptive", 3, 1)
    drops = [
        [each.drop("text", level) for level in (4, 5, 6)] for s, each in study.worths.items() if s.label == "adaptive"
    ]
    np.testing.assert_allclose(line.y, 100 * np.mean(drops, 0), rtol=1e-6)
    assert "renormalised" in figure.layout.meta["caption"]
    without = {source: dataclasses.replace(each, by={"text": "input"}) for source, each in study.worths.items()}
    assert "set to 0, to 1 in a product" in worth.plot_worth(study.layers, without).layout.meta["caption"]
    assert "mtlab intervene" in words(worth.plot_worth(study.layers, {}))


def test_each_family_loses_something_of_its_own_without_a_level(study: Study) -> None:
    figure = worth.plot_worth_by_family(study.worths, "adaptive")
    (line,) = lines(figure, "count", 1, 1)
    own = [each for source, each in study.worths.items() if source.label == "adaptive"]
    drops = [[0.6 - each.families["text"][level]["count"] for level in (4, 5, 6)] for each in own]
    np.testing.assert_allclose(line.y, 100 * np.mean(drops, 0), rtol=1e-6)
    assert {each.name for each in figure.data} >= {"colour", "count"}
    of_one = {
        source: dataclasses.replace(each, families={"text": {4: {"sum": 0.5}}}) for source, each in study.worths.items()
    }
    assert "--again" in words(worth.plot_worth_by_family(of_one, "adaptive"))


def test_replaced_weights_tell_what_choosing_is_worth(study: Study) -> None:
    first = next(iter(study.worths))
    swapped = {first: dataclasses.replace(study.worths[first], swapped={1: {"text": 0.5}, 2: {"text": 0.3}})}
    figure = replaced_weights.plot_replaced_weights({**study.worths, **swapped})
    (uniform,) = [each for each in lines(figure, "uniform") if each.y == ("adaptive",)]
    assert uniform.x[0] == pytest.approx(10)  # the fixture's 0.1
    (other,) = [each for each in lines(figure, "another seed's") if not each.showlegend and each.y != (None,)]
    assert (other.x[0], other.y) == (pytest.approx(100 * (0.7 - 0.4)), (first.label,))
    assert not lines(figure, "another seed's", 1, 2)
    assert (
        "lowest to highest seed; uniform: n = 3 seeds a variant; alike for all tokens: n = 3 seeds a variant; "
        "another seed's: n = 1 seed; over all validation examples."
    ) in figure.layout.meta["caption"]
    measured = {run: each for run, each in study.worths.items() if run.seed < 2}
    silent = {run: dataclasses.replace(study.worths[run], uniform={}, token_mean={}) for run in study.worths}
    caption = replaced_weights.plot_replaced_weights({**silent, **measured}).layout.meta["caption"]
    assert "Mean over seeds, line: lowest to highest seed; n = 2 seeds a variant;" in caption
    assert "was not measured" in words(replaced_weights.plot_replaced_weights({}))
