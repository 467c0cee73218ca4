"""A causal language model as the text tower of `model: mllm`: it gives token embeddings, and its layers to the encoder.

Shapes: B texts, L tokens, D width of the language model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mtlab.config.options import MAX_SIZE, option
from mtlab.errors import UserError
from mtlab.towers.base import Features, Tower, TowerInfo, TowerOptions, register_text_tower
from mtlab.towers.loading import language_models, text_encoders
from mtlab.towers.loading.language_models import SMOLLM2
from mtlab.towers.loading.licences import WeightsOrigin, model_origin

IGNORE_INDEX = -100  #: stands behind the end of an answer that is shorter than others


def end_each(answers: Sequence[Sequence[int]], end: int) -> Tensor:
    """Put the token that ends an answer behind each of several, and `IGNORE_INDEX` behind it: ids [A, S]."""
    longest = max(map(len, answers), default=0)
    rows = [[*answer, end, *[IGNORE_INDEX] * (longest - len(answer))] for answer in answers]
    return torch.tensor(rows, dtype=torch.long)


@register_text_tower("causal_lm")
class CausalLanguageModel(Tower[str]):
    """A causal language model for `model: mllm`: SmolLM2-135M from PyPI, or one of the hub or a folder (Llama, Qwen).

    Its one level is the embeddings of the prompt's tokens. Its decoder layers are run by the encoder, on image and
    text: nothing of it is cached. With `trainable: true` its layers and last norm are trained, with `embeddings` the
    token embeddings and the output map as well.
    """

    cacheable = False
    location_options: ClassVar[frozenset[str]] = frozenset({"model"})

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        model: str = option(
            SMOLLM2, "smollm2_135m (PyPI), a hub name, or a folder of transformers: Llama, Qwen2, Qwen3"
        )
        depth: int | None = option(None, "keep only so many of its lowest decoder layers; null: all", minimum=1)
        prompt: str = option("Question: {} Answer:", "what is asked, behind the image: {} stands for the text")
        max_length: int = option(48, "longest prompt, in tokens; longer texts are cut", minimum=2, maximum=MAX_SIZE)
        embeddings: bool = option(False, "train the token embeddings and the output map too, if it is trainable")

        path_options = ("model",)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.prompt.count("{}") != 1:
                raise UserError(f"expected one {{}} for the text, found {self.prompt!r}", key="prompt")
            if self.embeddings and self.lora_rank is not None:
                raise UserError(
                    "adapters leave the embeddings as they are: leave out lora_rank or this", key="embeddings"
                )

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        self._tokeniser: Any = None
        self.folder: Path | None = None
        published = None if weights else language_models.find_published(config.model)
        if published is not None:
            self.network = language_models.build_published(published, layers=self.info.decoder_layers)
            return
        self.folder = language_models.find_or_download(config.model, weights=weights)
        self.network = language_models.build_causal(self.folder, layers=self.info.decoder_layers, weights=weights)

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe width, tokens and decoder layers; downloads the configuration of a hub model if necessary.

        Raises:
            UserError: it is of another family, or has fewer layers than are to be kept.

        """
        sizes = language_models.read_sizes(config.model)
        layers = int(sizes["num_hidden_layers"])
        if config.depth is not None and config.depth > layers:
            raise UserError(f"cannot keep {config.depth} of {layers} layers", key="depth")
        return TowerInfo(
            depth=1,
            widths=(int(sizes["hidden_size"]),),
            tokens=config.max_length,
            class_token=False,
            positions=True,
            vocabulary=int(sizes["vocab_size"]),
            decoder_layers=config.depth or layers,
        )

    @classmethod
    def digest(cls, config: Config) -> str | None:
        """Hash configuration, tokeniser and weights; None for a hub model that is not on this disk."""
        return language_models.digest(config.model)

    @classmethod
    def origin(cls, config: Config) -> WeightsOrigin:
        """Return the hub's model, or the user's folder."""
        if config.model == SMOLLM2:
            return model_origin("HuggingFaceTB/SmolLM2-135M-Instruct", None)
        return model_origin(config.model, text_encoders.find(config.model))

    @classmethod
    def fetch(cls, config: Config) -> None:
        """Download or convert the model unless it is on this disk."""
        language_models.find_or_download(config.model, weights=True)

    @classmethod
    def token_strings(cls, config: Config, texts: Sequence[str]) -> list[list[str]] | None:
        """Return the prompts' tokens; None if the model is not on this disk or has no fast tokeniser."""
        folder = language_models.find(config.model)
        if folder is None:
            return None
        prompts = [config.prompt.replace("{}", text) for text in texts]
        found = text_encoders.token_strings(folder, [_tail(config), *prompts], special=False)
        return None if found is None else [_cut(words, config.max_length, len(found[0])) for words in found[1:]]

    @property
    def tokeniser(self) -> Any:
        """The tokeniser, loaded on first use."""
        if self._tokeniser is None:
            assert self.folder is not None, "a plan without the model reads no text"
            self._tokeniser = text_encoders.load_tokeniser(self.folder)
        return self._tokeniser

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, with nothing added."""
        ids: list[int] = self.tokeniser(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def encode_answer(self, answer: str) -> list[int]:
        """Return the ids of an answer behind the prompt: with a space in front, unless the prompt ends in one."""
        ends = self.config.prompt
        return self.encode(answer if ends[-1:].isspace() else f" {answer}")

    def encode_answers(self, answers: Sequence[str]) -> tuple[list[list[int]], int | None]:
        """Return the ids of answers, and that of the token that ends one.

        Where a plan knows a published model by its sizes alone, each answer is taken as one token.
        """
        if self.folder is None:
            return [[number] for number in range(len(answers))], 0
        return [self.encode_answer(each) for each in answers], self.tokeniser.eos_token_id

    def count_truncated(self, raw: Sequence[str]) -> int:
        """Count the texts whose prompts have more tokens than `max_length`."""
        return sum(len(ids) > self.config.max_length for ids in self._encode_prompts(raw))

    def prepare(self, raw: Sequence[str]) -> tuple[Tensor, ...]:
        """Texts → ids and mask of their prompts, both [B, L]: L is the longest of the batch, padded on the right."""
        tail = len(self.encode(_tail(self.config)))
        rows = [_cut(ids, self.config.max_length, tail) for ids in self._encode_prompts(raw)]
        length = max(map(len, rows))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        return ids, torch.arange(length) < torch.tensor([[len(row)] for row in rows])

    def _encode_prompts(self, raw: Sequence[str]) -> list[list[int]]:
        """Return the ids of the texts' prompts.

        Raises:
            UserError: one has no tokens, behind the last of which its answer would begin.

        """
        prompts = [self.encode(self.config.prompt.replace("{}", text)) for text in raw]
        if not all(prompts):
            raise UserError(
                "a text without tokens leaves nothing for its answer to begin behind: put a word into the prompt",
                key="text.prompt",
            )
        return prompts

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return prompts of the greatest length."""
        shape = (batch, self.config.max_length)
        return torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.bool)

    def forward(self, *inputs: Tensor) -> Features:
        """Ids and mask, both [B, L] → embeddings [B, L, D]."""
        ids, mask = inputs
        return Features((self.embed(ids),), mask)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up the embeddings of tokens, […] → […, D]."""
        embedded: Tensor = self.network.model.embed_tokens(ids)
        return embedded

    def logits(self, states: Tensor) -> Tensor:
        """Predict the next token behind normed states, […, D] → […, V]."""
        predicted: Tensor = self.network.lm_head(states)
        return predicted

    def enable_gradient_checkpointing(self) -> None:
        """Do nothing: the encoder runs its layers, and computes their activations again."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all but the token embeddings and the output map, unless these are to be trained too."""
        super().requires_grad_(requires_grad)
        if not self.config.embeddings:
            self.network.get_input_embeddings().requires_grad_(False)
            self.network.get_output_embeddings().requires_grad_(False)
        return self


def _tail(config: CausalLanguageModel.Config) -> str:
    return config.prompt.partition("{}")[2]


def _cut(tokens: list[Any], most: int, tail: int) -> list[Any]:
    """Cut the end of the text in front of the prompt's tail."""
    return tokens if len(tokens) <= most else tokens[: max(0, most - tail)] + tokens[len(tokens) - min(tail, most) :]
