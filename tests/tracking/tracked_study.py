"""A study that says where its metrics go; its runs take seconds."""

from mtlab.runs.store import Store

STUDY = """
kind: ablation
name: tracked
why: Does what was found get there?
set:
  text: {name: tiny_text, depth: 2, width: 16, heads: 2, layers: all}
  vision: {name: planted, depth: 3, planted: 2, width: 16, tokens: 3}
  data: {name: planted, train: 200, val: 40, test: 40}
  model: {width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}
  train: {batch: 20, length: {steps: 30}, eval_every: 10}
  record: {interventions: true}
axes: {manager: [bridge, static]}
baseline: {manager: bridge}
seeds: 2
tracking: {wandb: {project: layers, tags: [test], images: false}}
"""


def run_id(store: Store, label: str, seed: int) -> str:
    """Find a run of the study by its label and seed."""
    (run,) = [run for run in store.plan("tracked")["runs"] if (run["label"], run["seed"]) == (label, seed)]
    return str(run["id"])
