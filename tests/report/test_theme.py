"""Colours that can be told apart, that stay with their variant, and titles that fit."""

from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest

from mtlab.report.figures import panels, theme

# Machado et al. 2009, severity 1, on linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    cones = np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    mixed = np.array([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return mixed @ np.cbrt(cones @ rgb)


def contrast(one: str, other: str) -> float:
    high, low = sorted((float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("blindness", list(BLINDNESS))
def test_variants_are_told_apart_by_everybody(blindness: str) -> None:
    seen = [oklab(np.clip(np.array(BLINDNESS[blindness]) @ linear(each), 0, 1)) for each in theme.COLOURS]
    # 0.02 is just noticeable; lines and dots are small
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 0.08


@pytest.mark.parametrize("colour", [*theme.COLOURS, *theme.LEVELS, theme.NEUTRAL])
def test_colours_stand_out_on_both_grounds(colour: str) -> None:
    assert contrast(colour, theme.LIGHT.layout.paper_bgcolor) >= 2.2
    assert contrast(colour, theme.DARK.layout.paper_bgcolor) >= 2.2


@pytest.mark.parametrize("template", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_is_readable(template: go.layout.Template) -> None:
    ground = template.layout.paper_bgcolor
    assert contrast(template.layout.font.color, ground) > 7
    assert contrast(template.layout.xaxis.tickfont.color, ground) > 4.5
    modebar = template.layout.modebar  # it lies over the titles of panels
    assert modebar.bgcolor == "rgba(0,0,0,0)"
    assert contrast(modebar.color, ground) > 4.5


@pytest.mark.parametrize("template", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_numbers_in_heatmaps_are_readable(template: go.layout.Template) -> None:
    (heatmap,) = template.data.heatmap
    for scale in (template.layout.colorscale.sequential, template.layout.colorscale.diverging, heatmap.colorscale):
        for _, colour in scale:
            assert contrast(heatmap.textfont.color, colour) >= 4.5


def test_a_variant_keeps_its_style_whatever_is_shown() -> None:
    every = [f"variant {number}" for number in range(30)]
    styles = theme.assign_styles(every)
    assert len(set(styles.values())) == 30
    assert theme.assign_styles([*every, "one more"])["variant 7"] == styles["variant 7"]
    assert theme.study_styles({"rows": [{"label": name} for name in every]}) == styles
    for shown in (every[7:8], every[5:9]):
        assert theme.find_style(styles, "variant 7", shown) == styles["variant 7"]
    assert theme.find_style(styles, "a stranger", ["a stranger"]) not in styles.values()


def test_levels_go_from_cold_to_warm() -> None:
    for number in (1, 2, 6, 24):
        colours = theme.level_colours(number)
        assert len(set(colours)) == number
    assert theme.level_colours(6) == list(theme.LEVELS)


@pytest.mark.parametrize("width", [360, 500, 760, 1200])
def test_titles_and_captions_fit_their_width(width: int) -> None:
    figure = theme.finish(go.Figure(), "Which layers the managers draw on " * 3, "n = 5 seeds; averaged " * 20, 400)
    before = figure.layout.height
    theme.resize(figure, width)
    for text, size in ((figure.layout.title.text, 16), (figure.layout.title.subtitle.text, 12)):
        assert max(len(line) for line in text.split("<br>")) * size * 0.49 <= width
    assert (figure.layout.height > before) == (width < 760)
    assert figure.layout.height - figure.layout.margin.t == pytest.approx(400 - 60, abs=30)


def test_pages_get_text_and_a_figure_of_any_width() -> None:
    figure = theme.without_title(theme.finish(go.Figure(), "Title", "Caption", 400))
    assert (figure.layout.title.text, figure.layout.width, figure.layout.autosize) == (None, None, True)
    assert figure.layout.meta == {"title": "Title", "caption": "Caption", "height": 400}


def test_dark_is_a_copy() -> None:
    figure = theme.finish(go.Figure(), "Title", "Caption")
    assert theme.dark(figure).layout.template.layout.paper_bgcolor != figure.layout.template.layout.paper_bgcolor


def test_runs_have_the_colour_of_their_variant_and_differ_by_dash() -> None:
    styles = theme.assign_styles(["last", "bridge"])
    runs = theme.run_styles(styles, [("bridge 0", "bridge"), ("last 0", "last"), ("bridge 1", "bridge")])
    assert runs["bridge 0"].colour == runs["bridge 1"].colour == styles["bridge"].colour
    assert runs["bridge 0"].dash != runs["bridge 1"].dash
    assert runs["last 0"] == styles["last"]


def test_a_bare_figure_keeps_its_width_and_loses_its_texts() -> None:
    whole = theme.resize(theme.finish(go.Figure(), "Title", "Caption " * 40, 300), 400)
    bare = theme.bare(whole)
    assert (bare.layout.width, bare.layout.height, bare.layout.title.text) == (400, 300, None)
    assert whole.layout.height > 300


def test_fonts_of_all_texts_change_together() -> None:
    figure = theme.finish(go.Figure(layout={"annotations": [{"text": "a", "font": {"size": 12}}]}), "Title", "Caption")
    changed = theme.set_fonts(figure, "Palatino", 2 * 13 * 72 / 96)
    template = changed.layout.template.layout
    assert (template.font.size, template.xaxis.tickfont.size, changed.layout.annotations[0].font.size) == (26, 22, 24)
    assert template.font.family == "Palatino"
    assert figure.layout.template.layout.font.size == 13
    assert theme.resize(changed, 300).layout.height > theme.resize(figure, 300).layout.height


def test_variants_that_are_drawn_are_shown_however_many_others_there_are() -> None:
    names = [f"v{number}" for number in range(12)]
    figure = go.Figure([go.Scatter(legendgroup=name) for name in names[9:]])
    assert panels.hide_beyond_limit(figure, names) == ""
    assert not any(trace.visible == "legendonly" for trace in figure.data)
