"""The bad-input campaign: what a user or a disk may hand to mtlab is accepted, or refused in one line.

Real recipes, command lines, shards, checkpoints, golden bundles and run stores are changed by hypothesis
(`input_kinds`); the command line is called in this process, and its outcome judged (`input_judge`).
"""

from __future__ import annotations

import argparse
import atexit
import os
import resource
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import command_inputs as more
import hypothesis
import input_kinds as kinds
from hypothesis import HealthCheck, Phase, given, settings
from input_judge import Judge
from input_kinds import Kind

KINDS: dict[str, Kind] = {
    "recipes": kinds.recipes,
    "YAML as text": kinds.yaml_texts,
    "overrides": kinds.overrides,
    "sweeps": kinds.sweeps,
    "studies beside settings": more.whole_studies,
    "language models": more.language_models,
    "own questions and captions": more.own_data,
    "shards": kinds.shards,
    "checkpoints": kinds.checkpoints,
    "golden bundles": kinds.bundles,
    "run stores": kinds.stores,
    "archives of studies": more.archives,
    "words of commands": more.command_words,
    "trained models": more.trained_models,
}
MEMORY = 12 * 2**30  #: bytes of address space
ROUND = 250  #: inputs of a kind in one folder
SHARE = {"golden bundles": 0.4, "trained models": 0.4}  #: of the inputs that the others have: each takes a model


@cache
def shared_cache() -> str:
    """Make an expert cache for this process: reading the towers of a recipe once takes as long as fifty inputs."""
    folder = tempfile.mkdtemp(prefix="mtlab-inputs-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def judged(name: str, inputs: int, seed: int) -> Judge:
    """Give `inputs` inputs of a kind to mtlab; return what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="mtlab-inputs-"))
    os.environ |= {"MTLAB_CACHE": shared_cache(), "HF_HUB_OFFLINE": "1"}
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
    try:
        judge = Judge(folder)
        strategy, give = KINDS[name](judge)

        @settings(
            max_examples=max(1, round(inputs * SHARE.get(name, 1.0))),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def campaign(given_input: Any) -> None:
            give(given_input)

        hypothesis.seed(seed)(campaign)()
        return judge
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        shutil.rmtree(folder, ignore_errors=True)


HEAD = "| input | how it is given | inputs | accepted | refused | problems |\n|---|---|---|---|---|---|"


def row(name: str, judge: Judge) -> str:
    """As a line of a Markdown table."""
    how = " ".join((KINDS[name].__doc__ or "").rstrip(".").split())
    accepted = judge.codes[0] + judge.codes[1]
    return f"| {name} | {how} | {judge.inputs:,} | {accepted:,} | {judge.codes[2]:,} | {len(judge.problems)} |"


def main() -> int:
    """Run the campaign as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1500, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="one kind")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    table, problems, inputs = [HEAD], 0, 0
    for name in KINDS:
        if asked.only in ("", name):
            judge = Judge(Path())
            for number, start in enumerate(range(0, asked.inputs, ROUND)):
                judge.add(judged(name, min(ROUND, asked.inputs - start), asked.seed * 10_000 + number))
                print(f"{name}: {judge.inputs} inputs, {len(judge.problems)} problems", file=sys.stderr, flush=True)
            table.append(row(name, judge))
            problems, inputs = problems + len(judge.problems), inputs + judge.inputs
            print(table[-1], flush=True)
            for what, shown in judge.problems.items():
                print(f"    {what}\n        {shown}", flush=True)
    print("\n".join(["", *table, "", f"{inputs:,} inputs, {problems} problems"]))
    if asked.out is not None:
        asked.out.write_text("\n".join(table) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
