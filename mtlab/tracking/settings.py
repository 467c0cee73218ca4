"""The tracking settings of a study, below `tracking:`; no part of a run's identity."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from mtlab.config.options import option
from mtlab.errors import UserError

Mode = Literal["offline", "online"]
PROJECT = "mtlab"
_FORBIDDEN = set("/\\#?%:")  #: in names of W&B projects


@dataclass(frozen=True, kw_only=True)
class WandbSettings:
    """Settings of Weights & Biases."""

    mode: Mode = option("offline", "offline: files in the store, to be sent later; online: sent while runs go on")
    project: str | None = option(None, "W&B project; null: $WANDB_PROJECT, else mtlab")
    entity: str | None = option(None, "W&B user or team; null: $WANDB_ENTITY, else your default")
    group: str | None = option(None, "group of all runs; null: a group for each variant")
    tags: list[str] = option(list, "further tags of every run, beside the study and the manager")
    images: bool | None = option(
        None, "send figures as pictures too; needs `mtlab[images]` and Chrome or Chromium; null: where they are there"
    )
    checkpoints: bool = option(False, "send the best checkpoint of every run, as an artifact")

    def __post_init__(self) -> None:
        odd = sorted(_FORBIDDEN.intersection(self.project or ""))
        if odd or len(self.project or "") > 128:
            problem = f"a W&B project's name has no {' '.join(odd)}" if odd else "is longer than 128 letters"
            raise UserError(problem, key="tracking.wandb.project")
        if wrong := [tag for tag in self.tags if not 1 <= len(tag) <= 64]:
            raise UserError(f"{wrong[0]!r}: a W&B tag has 1 to 64 letters", key="tracking.wandb.tags")

    def filled(self) -> WandbSettings:
        """Fill in the environment: names that the study leaves out; `WANDB_MODE` can turn online into offline alone."""
        offline = os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled")
        return replace(
            self,
            mode="offline" if offline else self.mode,
            project=self.project or os.environ.get("WANDB_PROJECT") or PROJECT,
            entity=self.entity or os.environ.get("WANDB_ENTITY"),
        )


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Trackers of a study."""

    wandb: WandbSettings | None = option(None, "Weights & Biases; off unless it is there")
