"""The colours of the pages: those of the figures, so that both are of one piece."""

from __future__ import annotations

from typing import Any

from mtlab.report.figures import theme


def variables() -> str:
    """Write the colours as CSS: light, dark where the system is, and either where the reader chooses."""
    light, dark = _scheme(theme.LIGHT), _scheme(theme.DARK)
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ color-scheme: dark; {dark} }} }}\n"
        f":root[data-theme=dark] {{ color-scheme: dark; {dark} }}\n"
    )


def _scheme(template: Any) -> str:
    layout = template.layout
    named = {
        "font": theme.FONT,
        "ink": layout.font.color,
        "faint": layout.xaxis.tickfont.color,
        "line": layout.xaxis.linecolor,
        "grid": layout.xaxis.gridcolor,
        "paper": layout.paper_bgcolor,
        "accent": theme.COLOURS[0] if template is theme.LIGHT else theme.COLOURS[5],
    }
    return " ".join(f"--{name}: {value};" for name, value in named.items())
