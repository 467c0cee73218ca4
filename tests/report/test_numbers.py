"""Numbers as text: the edges."""

import pytest

from mtlab.report.formats import numbers, text_plot
from mtlab.statistics.intervals import MeanInterval


def test_nothing_is_rounded_to_minus_zero():
    assert numbers.format_score(-0.0001, "test/accuracy", sign=True) == "+0.0"
    assert numbers.format_score(-0.0001, "test/accuracy") == "0.0"


def test_differences_of_costs_have_signs():
    differences = [numbers.format_score(value, "cost/params", sign=True) for value in (-4000.0, 6000.0)]
    assert differences == ["−4.00 k", "+6.00 k"]
    assert numbers.format_score(-5000.0, "cost/seconds", sign=True) == f"−{numbers.format_duration(5000.0)}"


@pytest.mark.parametrize("value", [999, 999.6, 9994, 9996, 99_960, 999_600, 1e20])
def test_numbers_stay_short(value):
    assert len(numbers.format_count(value)) <= 6 or value > 1e18


def test_unknown_is_a_dash():
    assert (
        numbers.format_score(None, "test/accuracy")
        == numbers.format_count(None)
        == numbers.format_duration(None)
        == numbers.format_mean(None, "x")
        == "—"
    )


def test_intervals_that_leave_the_scale_end_in_triangles():
    means = [
        MeanInterval(2, 0.50, 0.1, (-0.4, 1.4)),
        MeanInterval(5, 0.55, 0.1, (0.52, 0.58)),
        MeanInterval(5, 0.60, 0.1, (0.58, 0.62)),
    ]
    axis = text_plot.choose_scale(means, 20, (0.0, 1.0))
    assert (axis.low, axis.high) == pytest.approx((0.4, 0.7))
    drawn = text_plot.draw_interval(means[0], axis, reference=0.55)
    assert (drawn[0], drawn[-1], len(drawn)) == ("◂", "▸", 20)
    assert drawn.count("┼") == 1


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [0.7, 0.7]])
def test_equal_means_can_be_drawn(values):
    axis = text_plot.choose_scale([MeanInterval(1, value, None, None) for value in values], 12, (0.0, 1.0))
    assert axis.low < axis.high
    assert text_plot.draw_interval(MeanInterval(1, values[0], None, None), axis).count("●") == 1
    assert text_plot.choose_scale([], 12) is None
