"""From what a cell's YAML says to its whole checked configuration and its id."""
