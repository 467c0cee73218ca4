"""Seeds: every random number of a run comes from its seed and its purpose, never from what was drawn before.

So no generator's state needs storing, a resumed run draws what an undisturbed one would have drawn, and two variants
with one seed share all that they have in common. No torch at import: reports derive seeds too.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


Part = str | int


def derive(seed: int, *parts: Part) -> int:
    """Hash a seed and the name of a purpose into a seed of 63 bits.

    The same in every process, on every platform and in every version: it is part of what a run's results rest on.

    >>> derive(0, "data", 3) == derive(0, "data", 3) != derive(0, "data", 4)
    True
    """
    text = json.dumps([seed, *parts], separators=(",", ":"))  # ("a", "b") and ("ab",) differ, and so do 1 and "1"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone: splits by it move no other when some are added."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """Shuffle the examples for one epoch: the same for every variant at one seed, [examples].

    It uses raw random bits alone, which NumPy keeps from version to version, unlike `Generator.permutation`.
    """
    import numpy as np

    keys = np.random.PCG64(derive(seed, "data", epoch)).random_raw(examples)
    return np.argsort(keys, kind="stable")


def noise_generator(
    seed: int,
    step: int,
    micro: int,
    modality: str,
    depth: int,
    *,
    rank: int = 0,
    name: str = "",
    device: str = "cpu",
) -> torch.Generator:
    """Return the generator of the training noise on one manager's scores.

    Args:
        seed: the run's.
        step: the optimiser step, from 0.
        micro: the micro-batch within the step, from 0.
        modality: the manager's.
        depth: the manager's, 0 at the first cross-modal layer.
        rank: the process's, where several train one model.
        name: of the pass, where a micro-batch goes through the model several times.
        device: where the noise is drawn; each kind of device has numbers of its own.

    """
    import torch

    which = (modality, depth, rank, *((name,) if name else ()))
    return torch.Generator(device).manual_seed(derive(seed, "noise", step, micro, *which))


def negatives_generator(seed: int, step: int, micro: int, *, device: str = "cpu") -> torch.Generator:
    """Return the generator of a micro-batch's hard negatives, over all processes; arguments as of `noise_generator`."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, "negatives", step, micro, 0))


def seed_dropout(seed: int, step: int, micro: int, *, rank: int = 0) -> None:
    """Reset torch's global generators (CPU and devices) for the dropout of one micro-batch."""
    import torch

    torch.manual_seed(derive(seed, "dropout", step, micro, rank))
