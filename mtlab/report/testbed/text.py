"""A testbed's card as Markdown and for the terminal, and several testbeds side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from mtlab.files import json_text
from mtlab.report.formats import numbers
from mtlab.report.formats.markdown import join_parts, markdown_table
from mtlab.report.formats.tables import ReportTable, text_table
from mtlab.report.testbed.card import FORMAT, Card
from mtlab.units import format_span

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mtlab.report.testbed.rows import CardRow

ROWS = (
    "Levels are counted from 1 at the bottom. Results in points on validation (val) and test data: mean and {level} "
    "interval over {seeds} seeds, and the mean of each family. ★: best single level and best bridge, by validation. "
    "Best guess: each family's commonest answer; in retrieval, chance. "
    "Steps: until validation is within 1 point of its best, median over seeds (the plateau)."
)
ROOM = (
    "An oracle that takes for each family the single level that is best on validation data, measured on test data, "
    "against the best single level for all: {single}."
)


def card_markdown(card: Card) -> str:
    """Write one card."""
    parts = [f"# {card.study}", card.why, *_sentences(card)]
    parts += ["## Rows", markdown_table(_row_table(card)), _caption(card)]
    if card.room is not None:
        parts += ["## Room", markdown_table(_room_table(card)), ROOM.format(single=card.room.single.label)]
    return join_parts(filter(None, parts))


def cards_markdown(cards: Sequence[Card]) -> str:
    """Write several cards under a table of all."""
    if len(cards) == 1:
        return card_markdown(cards[0])
    return "\n".join([f"# Testbeds\n\n{markdown_table(_summary_table(cards))}\n", *map(card_markdown, cards)])


def cards_json(cards: Sequence[Card]) -> str:
    """Write one card, or several as `testbeds`, as JSON with the stable keys of docs/json.md."""
    data = cards[0].to_dict() if len(cards) == 1 else {"format": FORMAT, "testbeds": [card.to_dict() for card in cards]}
    return json_text(data)


def render_cards(cards: Sequence[Card], width: int = 100) -> RenderableType:
    """Lay cards out for a terminal of `width` columns, several under a table of all."""
    from rich.console import Group
    from rich.text import Text

    from mtlab.report.formats.terminal import simple_table

    parts: list[RenderableType] = []
    if len(cards) > 1:
        parts += [simple_table(_summary_table(cards), width), Text()]
    for card in cards:
        parts += [Text.assemble((card.study, "bold"), f": {card.why}"), Text()]
        parts += [simple_table(_row_table(card), width), Text(), Text(_caption(card), style="dim"), Text()]
        if card.room is not None:
            parts += [simple_table(_room_table(card), width), Text()]
            parts += [Text(ROOM.format(single=card.room.single.label), style="dim"), Text()]
        parts += [Text(sentence) for sentence in _sentences(card)]
        parts.append(Text())
    return Group(*parts[:-1])


def _sentences(card: Card) -> Iterator[str]:
    done, planned = card.runs
    if done < planned:
        yield f"So far, with {done} of {planned} runs finished:"
    for claim in card.claims:
        yield claim.sentence
    yield (
        f"Towers {card.towers['text']} and {card.towers['image']}; data {card.world['name']}; {card.steps} steps of "
        f"{card.batch} examples."
    )


def _caption(card: Card) -> str:
    seeds = format_span([len(row.test) for row in card.rows])
    parts = [ROWS.format(level=numbers.format_level(card.alpha), seeds=seeds)]
    if card.spread is not None:
        parts.append(f"Standard deviation over seeds, median of rows: {_score(card, card.spread)}.")
    if card.ceiling is not None:
        parts.append(f"Ceiling, the best of all rows on validation data: {card.ceiling.label}.")
    return " ".join(parts)


def _row_table(card: Card) -> ReportTable:
    families = list(card.families)
    lines = []
    if card.guess is not None:
        of_families = (_score(card, card.guess.families.get(name)) for name in families)
        lines.append(
            (
                "best guess",
                numbers.NONE,
                _score(card, card.guess.score),
                *of_families,
                numbers.NONE,
            )
        )
    blind, seeing = card.of_role("text only", "image only"), card.of_role("single level", "mean", "bridge", "other")
    lines += [_row_line(card, row, families) for row in (*blind, *seeing)]
    return text_table(("row", "val", "test", *families, "steps"), lines, {0})


def _row_line(card: Card, row: CardRow, families: Sequence[str]) -> tuple[str, ...]:
    best = {id(found) for name, found in card.compared.items() if name.startswith("best")}
    label = f"{row.label} ★" if id(row) in best else row.label
    means = (_mean(row.family_test.get(name, {}).values()) for name in families)
    return (
        label,
        _score(card, _mean(row.validation.values())),
        _test(card, row),
        *(_score(card, mean) for mean in means),
        numbers.NONE if row.plateau is None else f"{row.plateau:.0f}",
    )


def _room_table(card: Card) -> ReportTable:
    assert card.room is not None
    room = card.room
    lines = [
        (
            one.family,
            one.best.label,
            _score(card, one.at_best),
            _score(card, one.at_single),
            numbers.format_score(one.gain, card.metric, sign=True),
        )
        for one in room.families
    ]
    total = numbers.format_interval(room.gain.mean, room.gain.interval, card.metric, sign=True)
    lines.append(
        ("all", "oracle", _score(card, room.oracle.mean), _score(card, room.oracle.mean - room.gain.mean), total)
    )
    return text_table(("family", "best level", "test there", "at the best for all", "room"), lines, {0, 1})


def _summary_table(cards: Sequence[Card]) -> ReportTable:
    header = (
        "testbed",
        "floor",
        "best single level",
        "mean",
        "best bridge",
        "ceiling",
        "room",
        "sd",
        "carries claims about",
    )
    return text_table(header, map(_summary_line, cards), {0, len(header) - 1})


def _summary_line(card: Card) -> tuple[str, ...]:
    compared = (card.compared.get(name) for name in ("best single level", "mean", "best bridge"))
    rows = (*compared, card.ceiling)
    room = card.room.gain if card.room is not None else None
    return (
        card.study,
        _score(card, card.floor),
        *(numbers.NONE if row is None else _score(card, _mean(row.test.values())) for row in rows),
        numbers.NONE if room is None else numbers.format_interval(room.mean, room.interval, card.metric, sign=True),
        _score(card, card.spread),
        ", ".join(claim.about for claim in card.claims if claim.carries) or "nothing",
    )


def _test(card: Card, row: CardRow) -> str:
    mean = numbers.format_mean(row.mean, card.metric)
    return f"{mean}, not learned" if row.learned is False else mean


def _mean(results: Iterable[float]) -> float | None:
    values = list(results)
    return fmean(values) if values else None


def _score(card: Card, value: float | None) -> str:
    return numbers.format_score(value, card.metric)
