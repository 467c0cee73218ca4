"""Words and patches of an example for the terminal, coloured and numbered by the level that they draw on."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mtlab.recording.reader import MODALITIES, Kind, Modality, PatchGrid, RecordedExample, Tokens
from mtlab.recording.token_levels import PREVIOUS, TokenLevels, token_levels
from mtlab.report.figures import theme
from mtlab.report.figures.panels import KIND_MEANINGS, KINDS, REMOVAL
from mtlab.report.formats.layer_tables import mean_known

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_GREY = (128, 128, 128)  #: colour that weak levels fade into, readable on light and dark terminals


def render_tokens(tokens: Tokens, example: int, kind: Kind = "contributions", width: int = 100) -> RenderableType:
    """Lay out one example: words and patches of each cross-modal layer, and the mean shares of all levels.

    Args:
        tokens: the recording.
        example: index in `tokens.examples`.
        kind: contributions or weights.
        width: columns of the terminal.

    """
    parts: list[RenderableType] = [_heading(tokens.examples[example]), Text(f"{KIND_MEANINGS[kind]}.", style="dim")]
    for modality in MODALITIES:
        parts += [Text(), Text(f"{modality}", style="bold"), *_modality(tokens, example, modality, kind, width)]
    return Group(*parts)


def _heading(example: RecordedExample) -> Text:
    line = Text.assemble((f"“{example.text}”", "bold"), f"  {example.id}" if example.id else "")
    if example.prediction is not None:
        right = None if example.truth is None else example.prediction == example.truth
        style = "" if right is None else "green" if right else "red"
        mark = "" if right is None else "✓ " if right else "✗ "
        line.append(f"\n{mark}answers {example.prediction}", style=style)
        line.append(f", right: {example.truth}" if right is False else "")
    elif example.truth is not None:
        line.append(f"\nright: {example.truth}")
    return line


def _modality(tokens: Tokens, example: int, modality: Modality, kind: Kind, width: int) -> list[RenderableType]:
    layers = {depth: token_levels(tokens, example, modality, depth, kind) for depth in tokens.depths(kind, modality)}
    layers = {depth: found for depth, found in layers.items() if found}
    if not layers:
        return [Text(_explain_nothing(tokens, modality, kind), style="yellow")]
    levels = next(iter(layers.values()))[0].levels
    colours = dict(zip(levels, theme.level_colours(len(levels)), strict=True))
    grid = tokens.grid if modality == "image" else None
    parts: list[RenderableType] = []
    for depth, found in layers.items():
        loose = [each for each in found if grid is None or each.place is None]
        if loose:
            head = Text(f"layer {depth + tokens.first_layer:<3}", style="dim")
            parts.append(_columns([head, _line(loose, colours)]))
    if grid is not None:
        parts += _grids(layers, grid, colours, width, tokens.first_layer)
    removals = [
        str(depth + tokens.first_layer)
        for depth in layers
        if kind == "contributions" and tokens.by_removal(modality, depth)
    ]
    if removals:
        parts.append(Text(f"layer {', '.join(removals)}: {REMOVAL[:1].lower()}{REMOVAL[1:]}", style="dim"))
    return [*parts, _legend(colours), _means(layers, levels, kind, tokens.first_layer)]


def _explain_nothing(tokens: Tokens, modality: Modality, kind: Kind) -> str:
    if kind == "weights" and tokens.depths("contributions", modality):
        return "Its managers have no weights, but contributions: leave out --weights."
    return "Nothing was recorded of its managers."


def _line(found: Sequence[TokenLevels], colours: dict[int, str]) -> Text:
    line = Text()
    for each in found:
        number = "₋" if each.level is None else str(each.level).translate(_SUBSCRIPTS)
        line.append(f"{each.token}{number}".replace(" ", "\u00a0"), style=_token_style(each, colours))
        line.append(" ")
    return line


def _grids(
    layers: dict[int, list[TokenLevels]], grid: PatchGrid, colours: dict[int, str], width: int, first: int
) -> list[RenderableType]:
    """Lay out one grid of patches per layer, as many side by side as fit."""
    digits = max(len(str(level)) for level in colours)
    cell = digits + 2 if grid.columns <= 10 else digits + 1
    size = cell * grid.columns
    blocks: list[RenderableType] = []
    for depth, found in layers.items():
        blocks.append(Text.assemble((f"layer {depth + first}\n", "dim"), _patches(found, grid, colours, cell)))
    at_once = max(1, (width + 3) // (size + 3))
    return [_columns(blocks[start : start + at_once], size) for start in range(0, len(blocks), at_once)]


def _patches(found: Sequence[TokenLevels], grid: PatchGrid, colours: dict[int, str], cell: int) -> Text:
    placed = {each.place: each for each in found if each.place is not None}
    drawn = Text()
    for row in range(grid.rows):
        for column in range(grid.columns):
            each = placed.get((row, column))
            number = "" if each is None else "–" if each.level is None else str(each.level)
            drawn.append(number.center(cell), style="" if each is None else _token_style(each, colours))
        drawn.append("\n" if row < grid.rows - 1 else "")
    return drawn


def _legend(colours: dict[int, str]) -> Text:
    legend = Text.assemble(("level ", "dim"))
    for level, colour in colours.items():
        legend.append(f" {level} ", style=_style(colour, 1.0))
        legend.append(" ")
    legend.append(" lowest to highest; the paler, the less it leads the other levels; –", style="dim")
    legend.append(" none: all from the previous state", style="dim")
    return legend


def _means(layers: dict[int, list[TokenLevels]], levels: Sequence[int], kind: Kind, first: int) -> Table:
    """Average the shares over the tokens of the example."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(f"mean {KINDS[kind]} of level")
    for level in levels:
        table.add_column(str(level), justify="right")
    if any(each.previous is not None for found in layers.values() for each in found):
        table.add_column(PREVIOUS, justify="right")
    for depth, found in layers.items():
        means = [mean_known(each.shares[place] for each in found) for place in range(len(levels))]
        top = max((mean for mean in means if mean is not None), default=None)
        cells = [Text("–" if mean is None else f"{mean:.2f}", style="bold" if mean == top else "") for mean in means]
        below = [each.previous for each in found if each.previous is not None]
        rest = Text(f"{sum(below) / len(below):.2f}" if below else "", style="dim")
        table.add_row(f"layer {depth + first}", *cells, *([rest] if len(table.columns) > len(levels) + 1 else []))
    return table


def _columns(parts: Sequence[RenderableType], width: int | None = None) -> Table:
    grid = Table.grid(padding=(0, 3, 0, 0))
    for _ in parts:
        grid.add_column(min_width=width, no_wrap=width is not None)
    grid.add_row(*parts)
    return grid


def _token_style(each: TokenLevels, colours: dict[int, str]) -> str:
    return "dim" if each.level is None else _style(colours[each.level], each.colour_strength)


def _style(colour: str, strength: float) -> str:
    """Return a background that is the fainter the weaker the level leads, with readable text in black or white."""
    share = 0.2 + 0.8 * strength
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    mixed = [round(share * own + (1 - share) * ground) for own, ground in zip(channels, _GREY, strict=True)]
    linear = [(channel / 255) ** 2.2 for channel in mixed]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return f"{'#000000' if luminance > 0.18 else '#ffffff'} on #{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"
