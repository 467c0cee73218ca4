"""Writers of a report: terminal, Markdown, LaTeX, CSV."""
