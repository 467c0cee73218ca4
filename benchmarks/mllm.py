"""What managers add to a training step and to generation of a LLaVA model, against the plain transformers model.

    python benchmarks/mllm.py [--layers 30] [--batch 2] [--tokens 16] [--rounds 7] [--quick]

DINOv2-S and SmolLM2-135M from PyPI, one picture of 81 image tokens in each row, managers in front of every fourth
decoder layer, four levels of the tower. A training step is forward and backward, with everything trained; generation is
greedy and cached, so that managers act once. The optimiser is left out: it has the same work but for the managers' few
weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Ratio, Seconds, alternate, median, ratio
from measurements import Row, measurements, parser

from mtlab.model.mllm.compose import compose, load_dinov2_small
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.prompts import ask
from mtlab.towers.loading.language_models import SMOLLM2, load_language_model

LEVELS, SIDE, PATCH = (4, 6, 8, 10), 126, 14
PLAIN = "plain transformers model"
VARIANTS: dict[str, dict[str, Any] | None] = {
    PLAIN: None,
    "residual_static": {"name": "residual_static"},
    "residual_adaptive": {"name": "residual_adaptive"},
}

GOALS = {"residual_static": 1.03, "residual_adaptive": 1.06}  #: of the training step


def train(model: Any, batch: dict[str, torch.Tensor]) -> None:
    """Run forward and backward."""
    model(**batch).loss.backward()
    model.zero_grad(set_to_none=True)


def generate(model: Any, prompt: dict[str, torch.Tensor], tokens: int) -> None:
    """Write so many tokens, whatever they are."""
    model.generate(**prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="4 layers")
    arguments.add_argument("--layers", type=int, default=30)
    arguments.add_argument("--batch", type=int, default=2)
    arguments.add_argument("--tokens", type=int, default=16)
    given = arguments.parse_args()
    layers = 4 if given.quick else given.layers
    torch.set_num_threads(1)
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
    with measurements(given) as tables:
        trained, written = alternate(training, given.rounds), alternate(writing, given.rounds)
        rows: list[Row] = [
            {
                "manager": name,
                "training step / plain": against(trained, name),
                "goal": GOALS.get(name),
                f"generation of {given.tokens} tokens / plain": against(written, name),
                "step, CPU s": median(trained[name]),
                "generation, CPU s": median(written[name]),
            }
            for name in VARIANTS
        ]
        tables.add("overhead", rows)


def against(taken: dict[str, list[Seconds]], name: str) -> Ratio | None:
    """Compare with the plain model."""
    return None if name == PLAIN else ratio(taken[name], taken[PLAIN])


if __name__ == "__main__":
    main()
