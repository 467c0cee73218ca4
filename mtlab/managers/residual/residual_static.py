"""Levels added to the previous state with the same weights for every token."""

from __future__ import annotations

from mtlab.managers.base import register_manager
from mtlab.managers.residual.base import Residual


@register_manager("residual_static")
class ResidualStatic(Residual):
    """The experts are added to the previous state, with weights that start at zero: c + Σ_n w_n ⊙ u_n.

    The weights are the same for every token of every example, of either sign, and need not sum to anything. At the
    first cross-modal layer c is the top expert, and those below it are added. It starts as `last`. Source:
    LLaVA-OV-Manager (arXiv 2506.11515), `static_zerouni`, there in front of layers of a language model.
    """
