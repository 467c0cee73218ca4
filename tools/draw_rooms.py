"""Draw the rooms of the package as an SVG: a box a room, above all that it imports, and arrows for the imports.

Arrows that follow from others are left out: where A imports B, B imports C and A imports C, the last is not drawn.
Layout after Sugiyama: levels by longest way, long arrows through empty places, order by the mean of the neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

BOX, HEIGHT = 152, 44  #: pixels
ROW, GAP, MARGIN = 76, 16, 14  #: from level to level, between boxes, around all
LANE = 10  #: width of an empty place for an arrow
SWEEPS = 40

STYLE = """
    text { font: 600 14px ui-sans-serif, system-ui, sans-serif; fill: #1f2937; text-anchor: middle }
    .small { font-weight: 400; font-size: 10.5px; fill: #4b5563 }
    rect { fill: #e8eef9; stroke: #5b7bb4; stroke-width: 1.2 }
    path { fill: none; stroke: #8a94a6; stroke-width: 1.3 }
    marker path { fill: #8a94a6; stroke: none }
    @media (prefers-color-scheme: dark) {
      text { fill: #e5e7eb } .small { fill: #aeb6c4 }
      rect { fill: #24324a; stroke: #7d9bd1 }
      path { stroke: #78849a } marker path { fill: #78849a }
    }"""
HEAD = """  <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
    <path d="M0 0.5 L8 4 L0 7.5 z"/></marker></defs>"""

Node = str | tuple[str, str, int]  #: a room, or the place of an arrow (from, to) on a level that it passes


@dataclass(frozen=True)
class Room:
    """What a box says."""

    name: str
    modules: int
    lines: int


def draw(rooms: Sequence[Room], imports: Mapping[str, Iterable[str]]) -> str:
    """Return the SVG of rooms that import one another without rings.

    Args:
        rooms: all of them.
        imports: room → the rooms that it imports.

    Raises:
        ValueError: there is a ring.

    """
    graph = {room.name: set(imports.get(room.name, ())) - {room.name} for room in rooms}
    levels = _levels(graph)
    arrows = [(one, other) for one in graph for other in sorted(_reduced(graph, one))]
    rows, ways = _rows(graph, levels, arrows)
    places = _places(rows, ways)
    top = max(levels.values())
    width = max(x + _width(node) / 2 for node, x in places.items()) + MARGIN

    def point(node: Node) -> tuple[float, float]:
        level = levels[node] if isinstance(node, str) else node[2]
        return places[node], MARGIN + (top - level) * ROW + HEIGHT / 2

    lines = [_arrow([point(node) for node in way]) for way in ways]
    boxes = [_box(room, *point(room.name)) for room in rooms]
    height = MARGIN * 2 + top * ROW + HEIGHT
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
            f"  <title>The rooms of the package and their imports</title>\n  <style>{STYLE}\n  </style>",
            HEAD,
            *lines,
            *boxes,
            "</svg>\n",
        )
    )


def _levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the length of the longest way down from each room."""
    levels: dict[str, int] = {}

    def level(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"rooms import one another: {' → '.join((*above, room))}")
        if room not in levels:
            levels[room] = 1 + max((level(other, (*above, room)) for other in graph[room]), default=-1)
        return levels[room]

    for room in graph:
        level(room, ())
    return levels


def _reduced(graph: Mapping[str, set[str]], room: str) -> set[str]:
    """Return the imports of a room that do not follow from its other imports."""

    def below(start: str) -> set[str]:
        return graph[start].union(*(below(each) for each in graph[start]))

    return graph[room] - set().union(*(below(other) for other in graph[room]))


def _rows(
    graph: Mapping[str, set[str]], levels: Mapping[str, int], arrows: list[tuple[str, str]]
) -> tuple[list[list[Node]], list[list[Node]]]:
    """Order the nodes of each level, and say which nodes each arrow passes from top to bottom."""
    ways: list[list[Node]] = [
        [one, *((one, other, level) for level in range(levels[one] - 1, levels[other], -1)), other]
        for one, other in arrows
    ]
    rows: list[list[Node]] = [[] for _ in range(max(levels.values()) + 1)]
    for room in graph:
        rows[levels[room]].append(room)
    for way in ways:
        for node in way[1:-1]:
            rows[node[2]].append(node)  # type: ignore[index] # a tuple: rooms are at the ends alone
    above, below = _neighbours(ways)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in reversed(rows) if down else rows:
            at = {node: (index + 0.5) / len(line) for line in rows for index, node in enumerate(line)}
            near = above if down else below
            row.sort(key=lambda node: _mean([at[each] for each in near.get(node, [])], at[node]))
    return rows, ways


def _places(rows: list[list[Node]], ways: list[list[Node]]) -> dict[Node, float]:
    """Return the horizontal centre of every node: near its neighbours, without overlaps."""
    places: dict[Node, float] = {}
    for row in rows:
        total = sum(_width(node) + GAP for node in row)
        x = -total / 2
        for node in row:
            places[node] = x + _width(node) / 2
            x += _width(node) + GAP
    above, below = _neighbours(ways)
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in reversed(rows) if sweep % 2 == 0 else rows:
            wanted = [_mean([places[each] for each in near.get(node, [])], places[node]) for node in row]
            _spread(row, wanted, places)
    left = min(x - _width(node) / 2 for node, x in places.items())
    return {node: x - left + MARGIN for node, x in places.items()}


def _spread(row: list[Node], wanted: list[float], places: dict[Node, float]) -> None:
    """Place a row's nodes as near to the wanted places as their widths allow, in their order."""
    groups: list[tuple[list[Node], float]] = []  # neighbours that touch, and the left end of the first
    for node, x in zip(row, wanted, strict=True):
        groups.append(([node], x - _width(node) / 2))
        while len(groups) > 1 and groups[-2][1] + _total(groups[-2][0]) + GAP > groups[-1][1]:
            (first, left), (second, right) = groups[-2:]
            both = _total(first) + GAP + _total(second)
            middle = (len(first) * (left + _total(first) / 2) + len(second) * (right + _total(second) / 2)) / (
                len(first) + len(second)
            )
            groups[-2:] = [([*first, *second], middle - both / 2)]
    for nodes, left in groups:
        x = left
        for node in nodes:
            places[node] = x + _width(node) / 2
            x += _width(node) + GAP


def _neighbours(ways: list[list[Node]]) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    above: dict[Node, list[Node]] = {}
    below: dict[Node, list[Node]] = {}
    for way in ways:
        for upper, lower in pairwise(way):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _arrow(points: list[tuple[float, float]]) -> str:
    """Draw a smooth line from the bottom of the first box to the top of the last."""
    (x, y), half = points[0], HEIGHT / 2
    text = f"M{x:.1f} {y + half:.1f}"
    y += half
    for index, (to_x, to_y) in enumerate(points[1:], 2):
        last = index == len(points)
        end = to_y - half if last else to_y
        middle = (y + (to_y - half)) / 2
        text += f" C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y - half:.1f}"
        if not last:
            end = to_y + half
            text += f" L{to_x:.1f} {end:.1f}"
        x, y = to_x, end
    return f'  <path d="{text}" marker-end="url(#head)"/>'


def _box(room: Room, x: float, y: float) -> str:
    left, top = x - BOX / 2, y - HEIGHT / 2
    about = f"{room.lines:,} lines" if room.modules == 1 else f"{room.modules} modules, {room.lines:,} lines"
    return (
        f'  <rect x="{left:.1f}" y="{top:.1f}" width="{BOX}" height="{HEIGHT}" rx="7"/>\n'
        f'  <text x="{x:.1f}" y="{y - 2:.1f}">{escape(room.name)}</text>\n'
        f'  <text class="small" x="{x:.1f}" y="{y + 14:.1f}">{escape(about)}</text>'
    )


def _width(node: Node) -> float:
    return BOX if isinstance(node, str) else LANE


def _total(nodes: list[Node]) -> float:
    return sum(map(_width, nodes)) + GAP * (len(nodes) - 1)


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
