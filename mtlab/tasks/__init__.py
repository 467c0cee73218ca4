"""Tasks: heads, losses, metrics and the outcome of each example."""
