"""Print how much each level contributes to a model's managers: a trained run, or a new model to compare it with.

python examples/which_levels.py                       # a new model of the study `planted`, not trained
python examples/which_levels.py quickstart:static:0   # STUDY:VARIANT:SEED of the store
"""

from __future__ import annotations

import argparse

import mtlab
from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS


def main() -> None:
    """Load or build a model, encode some validation examples, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="STUDY:VARIANT:SEED, a run's folder, or a checkpoint")
    parser.add_argument("--examples", type=int, default=64)
    arguments = parser.parse_args()

    if arguments.run is None:
        model = mtlab.build("planted", ["manager=static"])
    else:
        model = mtlab.load(arguments.run)
        if ":" in arguments.run:  # the results of its study
            print(mtlab.frame(study=arguments.run.partition(":")[0]).select("label", "seed", "test/primary"))

    entry, options = lookup_options(DATASETS, model.config["data"], "data")
    data = entry.cls(options)
    few = data.examples("val")[: arguments.examples]
    states = model.encode([data.image(each.image) for each in few], [each.text for each in few], record=True)

    assert states.recorded is not None  # asked for above
    for (modality, depth), manager in states.recorded.items():
        assert manager.contributions is not None  # [B, N + P, L], recorded of every manager
        shares = manager.contributions.mean((0, 2)).tolist()
        levels = model.levels[modality]
        shown = "  ".join(f"level {level}: {share:.2f}" for level, share in zip(levels, shares, strict=False))
        print(f"{modality:5} layer {depth + 1}  {shown}  previous states: {sum(shares[len(levels) :]):.2f}")


if __name__ == "__main__":
    main()
