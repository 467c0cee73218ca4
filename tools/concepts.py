"""Draws the pictures of docs/concepts.md: `python tools/concepts.py` writes docs/concepts-NAME.svg."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 720, 290
TEXT, IMAGE, CROSS, MANAGER, INK = "#3b6ea5", "#c8702a", "#5f6368", "#1f8a5f", "#222222"
BOX, STEP, BOTTOM = 28, 40, 216  #: height of a box, distance of two, top of the lowest one
LEVELS, CROSS_LAYERS = 5, 3
TEXT_X, CROSS_X, IMAGE_X = 30, 280, 570  #: left edges of the towers and the cross-modal encoder
TOWER, ENCODER = 120, 160  #: their widths


@dataclass
class Picture:
    """The parts of a picture, in the order in which they are drawn."""

    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, colour: str, text: str, *, filled: bool = True) -> None:
        """Draw a box with a text in it."""
        fill, ink = (colour, "#ffffff") if filled else ("#ffffff", colour)
        frame = f'stroke="{colour}" stroke-width="1.5"' + ("" if filled else ' stroke-dasharray="4 3"')
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="5" fill="{fill}" {frame}/>')
        self.label(x + width / 2, y + 18.5, text, ink)

    def label(self, x: float, y: float, text: str, colour: str = INK, size: float = 12.5) -> None:
        """Write a centred text."""
        self.parts.append(f'<text x="{x}" y="{y}" fill="{colour}" font-size="{size}">{escape(text)}</text>')

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1.6) -> None:
        """Draw a curve that leaves and arrives horizontally, with a head."""
        (x, y), (to_x, to_y) = start, end
        bend = (to_x - x) * 0.5
        path = f"M {x} {y} C {x + bend} {y}, {to_x - bend} {to_y}, {to_x} {to_y}"
        self._path(path, colour, width, head=True)

    def rise(self, x: float, start: float, end: float, colour: str = CROSS) -> None:
        """Draw an arrow straight up."""
        self._path(f"M {x} {start} L {x} {end}", colour, 1.6, head=True)

    def curve(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> None:
        """Draw a curve without a head."""
        (x, y), (to_x, to_y) = start, end
        bend = (to_x - x) * 0.5
        self._path(f"M {x} {y} C {x + bend} {y}, {to_x - bend} {to_y}, {to_x} {to_y}", colour, width, head=False)

    def _path(self, path: str, colour: str, width: float, *, head: bool) -> None:
        marker = f' marker-end="url(#{colour[1:]})"' if head else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{marker}/>')

    def circle(self, x: float, y: float) -> None:
        """Draw a manager."""
        self.parts.append(f'<circle cx="{x}" cy="{y}" r="9" fill="{MANAGER}"/>')
        self.label(x, y + 4.5, "M", "#ffffff", 11)

    def write(self, name: str) -> None:
        """Write the picture."""
        heads = "".join(
            f'<marker id="{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M 0 0 L 8 4 L 0 8 z" fill="{colour}"/></marker>'
            for colour in (TEXT, IMAGE, CROSS, MANAGER)
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="system-ui, sans-serif" text-anchor="middle" role="img"><title>{escape(self.title)}</title>'
            f'<defs>{heads}</defs><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        )
        (DOCS / f"concepts-{name}.svg").write_text("\n".join([head, *self.parts, "</svg>"]) + "\n")


def level_y(level: int) -> float:
    """Return the top of the box of a level, or of the cross-modal layer beside it."""
    return BOTTOM - (level - 1) * STEP


def cross_y(layer: int) -> float:
    """Return the middle of a cross-modal layer."""
    return level_y(layer + LEVELS - CROSS_LAYERS) + BOX / 2


def towers(picture: Picture) -> None:
    """Draw two towers and the cross-modal encoder between them."""
    for x, colour, name, given in ((TEXT_X, TEXT, "text", "words"), (IMAGE_X, IMAGE, "vision", "patches")):
        for level in range(1, LEVELS + 1):
            picture.box(x, level_y(level), TOWER, colour, f"level {level}")
            if level > 1:
                picture.rise(x + TOWER / 2, level_y(level - 1), level_y(level) + BOX + 1, colour)
        picture.label(x + TOWER / 2, level_y(LEVELS) - 14, f"{name} tower", colour, 13.5)
        picture.label(x + TOWER / 2, BOTTOM + BOX + 22, given, colour)
        picture.rise(x + TOWER / 2, BOTTOM + BOX + 10, BOTTOM + BOX + 1, colour)
    for layer in range(1, CROSS_LAYERS + 1):
        top = cross_y(layer) - BOX / 2
        picture.box(CROSS_X, top, ENCODER, CROSS, f"cross-modal layer {layer}")
        if layer > 1:
            picture.rise(CROSS_X + ENCODER / 2, cross_y(layer - 1) - BOX / 2, top + BOX + 1)
    picture.label(CROSS_X + ENCODER / 2, level_y(LEVELS) - 14, "head: the answer", INK, 13.5)


def edges(modality: str) -> tuple[float, float, str]:
    """Return where a tower's arrows leave, where they arrive at the encoder, and their colour."""
    return (TEXT_X + TOWER, CROSS_X, TEXT) if modality == "text" else (IMAGE_X, CROSS_X + ENCODER, IMAGE)


def draw_meter() -> None:
    """Only the last level of each tower is read, by the first cross-modal layer."""
    picture = Picture("METER: the last level of each tower enters the first cross-modal layer")
    towers(picture)
    for modality in ("text", "image"):
        leaves, arrives, colour = edges(modality)
        picture.arrow((leaves, level_y(LEVELS) + BOX / 2), (arrives, cross_y(1)), colour, 2.4)
    picture.write("meter")


def draw_bridge() -> None:
    """One level enters each cross-modal layer."""
    picture = Picture("BridgeTower: a bridge carries one level to each cross-modal layer")
    towers(picture)
    for modality in ("text", "image"):
        leaves, arrives, colour = edges(modality)
        for layer in range(1, CROSS_LAYERS + 1):
            picture.arrow((leaves, cross_y(layer)), (arrives, cross_y(layer)), colour, 2.4)
    picture.write("bridge")


def draw_manager() -> None:
    """All levels enter each cross-modal layer, weighted by a manager."""
    picture = Picture("ManagerTower: a manager in front of each cross-modal layer weighs all levels")
    towers(picture)
    for modality in ("text", "image"):
        leaves, arrives, colour = edges(modality)
        stands = arrives + (-34 if modality == "text" else 34)
        for layer in range(1, CROSS_LAYERS + 1):
            for level in range(1, LEVELS + 1):
                weight = 1 / (1 + (level - layer - 1) ** 2)
                picture.curve((leaves, level_y(level) + BOX / 2), (stands, cross_y(layer)), colour, 0.4 + 2.2 * weight)
            picture.arrow((stands, cross_y(layer)), (arrives, cross_y(layer)), MANAGER, 2.4)
            picture.circle(stands, cross_y(layer))
    picture.write("manager")


def draw_mllm() -> None:
    """Levels of the vision tower enter chosen layers of a language model."""
    picture = Picture("In a language model: managers add levels of the vision tower in front of chosen layers")
    x, width = 420, 180
    for level in range(1, LEVELS + 1):
        picture.box(TEXT_X, level_y(level), TOWER, IMAGE, f"level {level}")
        if level > 1:
            picture.rise(TEXT_X + TOWER / 2, level_y(level - 1), level_y(level) + BOX + 1, IMAGE)
        picture.box(x, level_y(level), width, CROSS, f"layer {level}")
        if level > 1:
            picture.rise(x + width / 2, level_y(level - 1), level_y(level) + BOX + 1)
    picture.label(TEXT_X + TOWER / 2, level_y(LEVELS) - 14, "vision tower", IMAGE, 13.5)
    picture.label(TEXT_X + TOWER / 2, BOTTOM + BOX + 22, "patches", IMAGE)
    picture.rise(TEXT_X + TOWER / 2, BOTTOM + BOX + 10, BOTTOM + BOX + 1, IMAGE)
    picture.label(x + width / 2, level_y(LEVELS) - 14, "language model: the answer, word by word", INK, 13.5)
    picture.label(x + width / 2, BOTTOM + BOX + 22, "image tokens and words", CROSS)
    picture.rise(x + width / 2, BOTTOM + BOX + 10, BOTTOM + BOX + 1)
    projector_x, middle = 218, level_y(3) + BOX / 2
    for level in range(1, LEVELS + 1):
        picture.curve((TEXT_X + TOWER, level_y(level) + BOX / 2), (projector_x, middle), IMAGE, 1.4)
    picture.box(projector_x, middle - BOX / 2, 84, IMAGE, "projector", filled=False)
    for layer in (2, 4):
        picture.arrow((projector_x + 84, middle), (x - 50, level_y(layer) + BOX / 2), IMAGE, 2)
        picture.arrow((x - 40, level_y(layer) + BOX / 2), (x, level_y(layer) + BOX / 2), MANAGER, 2.4)
        picture.circle(x - 40, level_y(layer) + BOX / 2)
    picture.write("mllm")


def main() -> None:
    """Draw all pictures."""
    for draw in (draw_meter, draw_bridge, draw_manager, draw_mllm):
        draw()


if __name__ == "__main__":
    main()
