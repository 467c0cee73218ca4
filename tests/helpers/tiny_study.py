"""A study whose runs take seconds, as a file that tests complete with axes of their own."""

from pathlib import Path

TINY = """
kind: ablation
name: tiny
why: Does the tool work from end to end?
set:
  text: {name: tiny_text, depth: 3, width: 16, layers: all}
  vision: {name: tiny_vision, depth: 3, width: 16, layers: all}
  data: {name: shapes, train: 64, val: 16, test: 16}
  model: {width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}
  train: {batch: 8, length: {steps: 6}, eval_every: 3, checkpoint_every: 2}
"""


def write_study(folder: Path, text: str, name: str = "study") -> Path:
    """Write `NAME.yaml`, based on `TINY`, which is written beside it; return its path."""
    (folder / "tiny.yaml").write_text(TINY)
    path = folder / f"{name}.yaml"
    path.write_text(f"base: tiny\nname: {name}\n{text}\n")
    return path
