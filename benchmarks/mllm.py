"""What managers add to a training step and to generation of a LLaVA model, against the plain transformers model.

    python benchmarks/mllm.py [--layers 30] [--batch 2] [--tokens 16] [--rounds 7] [--quick]

DINOv2-S and SmolLM2-135M from PyPI, one picture of 81 image tokens in each row, managers in front of every fourth
decoder layer, four levels of the tower. A training step is forward and backward, with everything trained; generation is
greedy and cached, so that managers act once. The optimiser is left out: it has the same work but for the managers' few
weights.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import ROUNDS, alternate, machine, median, ratio

from mtlab.model.mllm.compose import compose, load_dinov2_small
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.prompts import ask
from mtlab.towers.loading.language_models import SMOLLM2, load_language_model

LEVELS, SIDE, PATCH = (4, 6, 8, 10), 126, 14
VARIANTS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "residual_static": {"name": "residual_static"},
    "residual_adaptive": {"name": "residual_adaptive"},
}


def train(model: Any, batch: dict[str, torch.Tensor]) -> None:
    """Run forward and backward."""
    model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)


def generate(model: Any, prompt: dict[str, torch.Tensor], tokens: int) -> None:
    """Write so many tokens, whatever they are."""
    model.generate(**prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="4 layers, 1 round")
    given = parser.parse_args()
    layers, rounds = (4, 1) if given.quick else (given.layers, given.rounds)

    pixels = torch.randn(given.batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    training: dict[str, Callable[[], object]] = {}
    writing: dict[str, Callable[[], object]] = {}
    kept = []
    for name, node in VARIANTS.items():
        llm, tokenizer = load_language_model(SMOLLM2, layers=layers)
        image = tokenizer.convert_tokens_to_ids("<image>")
        model = compose(load_dinov2_small(), llm, image_token=image, level=LEVELS[-1])
        if node is not None:
            kept.append(ManagedModel(model, node, Injection(layers=tuple(range(0, layers, 4)), levels=LEVELS)))
        questions, count = ["Which colour is the square?"] * given.batch, (SIDE // PATCH) ** 2
        batch = ask(tokenizer, questions, count, ["red"] * given.batch) | {"pixel_values": pixels}
        training[name] = partial(train, model, batch)
        prompt = ask(tokenizer, questions, count) | {"pixel_values": pixels}
        writing[name] = partial(generate, model, prompt, given.tokens)
    print(machine())
    for what, work in (("training step", training), (f"generation of {given.tokens} tokens", writing)):
        taken = alternate(work, rounds)
        for name in VARIANTS:
            against = "" if name == "plain" else f", {ratio(taken[name], taken['plain'])} of plain"
            print(f"{what}, {name}: {median(taken[name]):.2f} CPU seconds{against}", flush=True)


if __name__ == "__main__":
    main()
