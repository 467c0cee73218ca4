"""A causal language model that reads image and text, as the encoder of a run: projector, managers, decoder layers.

Shapes: B examples, L text tokens, M image tokens, S tokens behind the prompt, T of all, N levels, D width.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mtlab.config.nodes import lookup_options
from mtlab.config.schema import MultimodalConfig
from mtlab.errors import place_errors
from mtlab.managers.base import MANAGERS, Experts, Intervention, Manager, Modality, build_manager
from mtlab.model.base import CrossModalOutput, Encoder, ManagerKey
from mtlab.model.initial import initialise
from mtlab.model.layers import to_full_precision
from mtlab.model.mllm.answers import AnswerScorer, grow_tree
from mtlab.model.mllm.continuations import AnswerTokens, Continuation, continuation_likelihoods, embed_continuation
from mtlab.model.mllm.offered import offered_rows
from mtlab.model.mllm.passing import Pass, Requests
from mtlab.model.mllm.places import injection_places
from mtlab.model.mllm.tokens import Columns, positions
from mtlab.model.projection import Projections
from mtlab.seeding import derive
from mtlab.towers.base import Features, TowerShape
from mtlab.towers.causal_lm import IGNORE_INDEX, CausalLanguageModel


class LanguageModelEncoder(Encoder):
    """Runs a language model on the tokens of an image and of a text, with managers in front of chosen layers.

    Image tokens come first: the top offered level of the vision tower through the projector, as in LLaVA; of several
    images of a text, one image's behind another's. Each manager hands on the image tokens of its layer; levels go
    through the same projector, with a learned vector added to each. What managers are given is told in docs/mllm.md.
    The language model itself is the text tower, whose layers are run here; it is no part of this module, so that its
    parameters have one name.

    Args:
        model: its options.
        manager: the manager node, `{name: …, options…}`.
        text: what the text tower offers: embeddings.
        vision: what the vision tower offers.
        tower: the language model.
        answers: the data set's, scored by their likelihood or learnt to be generated; None: a head answers.

    Raises:
        UserError: the manager is unknown or refuses its place, layers do not exist, or answers cannot be scored.

    """

    first_layer = 0
    projector_modules = ("projections", "projector")

    def __init__(
        self,
        model: MultimodalConfig,
        manager: Mapping[str, Any],
        text: TowerShape,
        vision: TowerShape,
        tower: CausalLanguageModel,
        answers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        places = injection_places(model, manager, text, vision)
        entry, config = lookup_options(MANAGERS, manager, "manager")
        self.offered = {layer: offered_rows(model, vision, first=not layer) for layer in places}
        taken = {
            self.offered[layer].rows[expert - 1] + 1
            for layer, place in places.items()
            for expert in entry.cls.experts_used(config, place)
        }
        self.config, self.levels, self.neutral = model, {"text": (), "image": vision.levels}, entry.cls.neutral
        self.width, self.standardise, self.initial_std = text.widths[-1], model.standardise, model.init_std
        projected = taken | {len(vision.levels)}  # the top one is the language model's own
        self.projections = Projections(vision, self.width, projected, per_level=model.projections == "per_level")
        second = nn.Sequential(nn.GELU(), nn.Linear(self.width, self.width))
        self.projector = second if model.projector_layers == 2 else nn.Identity()
        self.expert_rows = offered_rows(model, vision, first=False).rows  # of managers above layer 0
        embeddings = torch.zeros(len(self.expert_rows), self.width)
        self.level_embeddings = nn.Parameter(embeddings) if model.level_embeddings else None
        built = {str(layer): build_manager(entry.cls, config, place) for layer, place in places.items()}
        self.managers_by_layer = nn.ModuleDict(built)
        self.scorer: AnswerScorer | None = None
        self.answers: AnswerTokens | None = None
        if answers is not None:
            ids, end = tower.encode_answers(answers)
            with place_errors(key="model.answers"):
                if model.answers == "generate":
                    self.answers = AnswerTokens(answers, ids, end, model.answer_tokens)
                else:
                    self.scorer = AnswerScorer(grow_tree(ids, end), len(answers))
        self.projector_lr_scale = model.projector_lr_scale
        self._tower = (tower,)  # in a tuple: no submodule

    @property
    def tower(self) -> CausalLanguageModel:
        """The language model."""
        return self._tower[0]

    def forward(
        self,
        text: Features | Experts,
        vision: Features | Experts,
        *,
        image_index: int = 0,  # noqa: ARG002 - images of one text are read together
        noise: Mapping[ManagerKey, Tensor] | None = None,
        intervene: Mapping[ManagerKey, Intervention] | None = None,
        record: bool = False,
        continuation: Tensor | None = None,
        cache: Any = None,
    ) -> CrossModalOutput:
        """Read an image and a text; arguments as of `Encoder.forward`, of which both must be towers' levels.

        Args:
            text: the prompts.
            vision: the images.
            image_index: of no use, see `fuse_images`.
            noise: of the managers.
            intervene: with the managers' weights.
            record: weights and contributions of every manager.
            continuation: tokens of an answer behind each prompt, whose likelihood is wanted, see `AnswerTokens`.
            cache: of transformers, which takes the keys and values of all tokens.

        """
        assert isinstance(text, Features), "tasks that fuse experts are refused"
        assert isinstance(vision, Features), "tasks that fuse experts are refused"
        more = {"continuation": continuation, "cache": cache}
        return self.fuse_images(text, [vision], noise=[noise or {}], intervene=[intervene], record=record, **more)[0]

    def fuse_images(
        self,
        text: Features,
        images: Sequence[Features],
        *,
        noise: Sequence[Mapping[ManagerKey, Tensor]],
        intervene: Sequence[Mapping[ManagerKey, Intervention] | None],
        record: bool = False,
        continuation: Tensor | None = None,
        cache: Any = None,
    ) -> list[CrossModalOutput]:
        """Read each text behind all of its images, in one pass; each manager is called for each image by itself.

        Arguments as of `Encoder.fuse_images` and `forward`. States and likelihoods of the text are the same in all
        outputs.
        """
        words, mask = text.levels[-1], text.mask
        projected = [self._image(image) for image in images]
        length, start = projected[0][0].shape[1], sum(own.shape[1] for own, _ in projected)
        behind_prompt = self._continuation(words, continuation)
        further = [] if behind_prompt is None else [behind_prompt.states]
        hidden = torch.cat([*(own for own, _ in projected), words, *further], 1)
        question, asked = Columns(start, start + words.shape[1], mask), Experts(words.unsqueeze(1), mask)
        passes = [
            Pass(
                Columns(number * length, (number + 1) * length),
                question,
                experts,
                asked,
                self._requests(noise[number], intervene[number], record=record),
            )
            for number, (_, experts) in enumerate(projected)
        ]
        hidden = self._run(hidden, *positions(question, hidden, behind_prompt), passes, cache)
        told, behind = question.gather(hidden), hidden[:, question.stop :]
        last = told[:, -1] if mask is None else told[torch.arange(len(told), device=told.device), mask.sum(1) - 1]
        likelihoods = self._likelihoods(last, behind, continuation)
        return [self._output(each, hidden, told, last, likelihoods) for each in passes]

    @torch.no_grad()
    def generate(
        self, text: Features, vision: Features, *, intervene: Mapping[ManagerKey, Intervention] | None = None
    ) -> Tensor:
        """Answer greedily, with cached keys and values.

        Managers act as the prompt is read; what they changed lives on in the cache.

        Returns:
            token ids [B, `model.answer_tokens`], `IGNORE_INDEX` behind the end

        """
        from transformers import DynamicCache  # here: its import takes a second

        assert self.answers is not None, "`model.answers` is generate"
        cache, most, end = DynamicCache(), self.config.answer_tokens, self.answers.end
        fused = self(text, vision, intervene=intervene, cache=cache)
        assert fused.likelihoods is not None, "of the first token"
        token = fused.likelihoods.argmax(-1)
        generated: Tensor = token.new_full((len(token), most), IGNORE_INDEX)
        places, visible = self._next_positions(text, fused.image.shape[1])
        for number in range(most):
            generated[:, number] = token
            over = (generated == end).any(1)
            if number + 1 == most or over.all():
                break
            visible = F.pad(visible, (0, 1), value=True)
            hidden = self._run(self.tower.embed(token.clamp_min(0)).unsqueeze(1), places + number, visible, None, cache)
            token = torch.where(over, IGNORE_INDEX, self.tower.logits(hidden[:, -1]).argmax(-1))
        return generated

    @torch.no_grad()
    def score(
        self,
        text: Features,
        vision: Features,
        candidates: Tensor,
        *,
        intervene: Mapping[ManagerKey, Intervention] | None = None,
    ) -> Tensor:
        """Score several continuations of each prompt, such as captions of an image, by their log-likelihood.

        The prompt is read once, and its keys and values are kept: they are what each candidate attends to.

        Args:
            text: the prompts.
            vision: the images.
            candidates: tokens of C continuations of each, as of `AnswerTokens`, [B, C, S]; `IGNORE_INDEX` alone: none.
            intervene: with the managers' weights.

        Returns:
            sums over the tokens of each, [B, C]; 0 for none

        """
        from transformers import DynamicCache  # here: its import takes a second

        cache = DynamicCache()
        fused = self(text, vision, intervene=intervene, cache=cache)
        last = fused.pooled[:, : self.width]
        places, prompt = self._next_positions(text, fused.image.shape[1])
        lengths, order = (candidates != IGNORE_INDEX).sum(2).sort(1)  # the shortest first: little padding
        scores = torch.zeros(lengths.shape, dtype=torch.promote_types(last.dtype, torch.float32), device=last.device)
        for number, longest in enumerate(lengths.amax(0).tolist()):
            if not longest:
                continue
            tokens = candidates[torch.arange(len(order), device=order.device), order[:, number], :longest]
            behind = embed_continuation(tokens, self.tower.embed)
            visible = torch.cat([prompt.expand(-1, -1, longest - 1, -1), behind.seen.expand(len(tokens), 1, -1, -1)], 3)
            states = behind.states
            if longest > 1:  # else of the end alone, which the prompt's last state tells of
                states = self._run(states, places + behind.depths - 1, visible, None, cache)
                cache.crop(1 - longest)
            scores[:, number] = continuation_likelihoods(tokens, last, states, self.tower.logits)
        return torch.zeros_like(scores).scatter(1, order, scores)

    def decode(self, generated: Tensor) -> list[str]:
        """Write what `generate` returns in words, without what surrounds them: [B, S] → B answers."""
        rows = [[token for token in row if token != IGNORE_INDEX] for row in generated.tolist()]
        return [self.tower.tokeniser.decode(row, skip_special_tokens=True).strip() for row in rows]

    def initialise(self, seed: int) -> None:
        """Draw projector and managers with `init_std`, and level embeddings with 1 / √D, as published."""
        initialise(self, seed, "encoder", std=self.initial_std)
        if self.level_embeddings is not None:
            generator = torch.Generator().manual_seed(derive(seed, "init", "encoder.level_embeddings"))
            drawn = torch.randn(self.level_embeddings.shape, generator=generator)
            self.level_embeddings.data.copy_(drawn / math.sqrt(self.width))

    def calibrate(self, text: Features, vision: Features) -> None:  # noqa: ARG002 - embeddings stay as they are
        """Standardise the channels of the vision tower's levels, see `Projections`."""
        self.projections.calibrate(vision)

    def depths(self, modality: Modality) -> Sequence[int]:
        """Return the decoder layers with a manager in front, from 0; none of the text's."""
        return [int(layer) for layer in self.managers_by_layer] if modality == "image" else []

    def manager(self, modality: Modality, depth: int) -> Manager:  # noqa: ARG002 - the image's are all there are
        """Return the manager in front of a decoder layer."""
        manager = self.managers_by_layer[str(depth)]
        assert isinstance(manager, Manager)
        return manager

    def rows_offered(self, modality: Modality, depth: int) -> Sequence[int]:  # noqa: ARG002
        """Return which of the vision tower's levels the experts of a manager are, from 0."""
        return self.offered[depth].rows

    def offered_levels(self, modality: Modality) -> Sequence[int]:
        """Return the levels of the vision tower that some manager is offered."""
        rows = {row for each in self.offered.values() for row in each.rows}
        return [level for row, level in enumerate(self.levels[modality]) if row in rows]

    def _image(self, vision: Features) -> tuple[Tensor, Experts]:
        """Project the image's own tokens, the top level [B, M, D], and what managers are offered [B, N, M, D]."""
        mapped = {}
        for expert in sorted(self.projections.used):
            projected = self.projector(F.linear(vision.levels[expert - 1], *self.projections.affine(expert)))
            mapped[expert - 1] = to_full_precision(projected)
        own = mapped[len(vision.levels) - 1]
        if vision.removed is not None:  # from both
            mapped[vision.removed - 1] = torch.full_like(own, self.neutral)
            own = torch.zeros_like(own) if vision.removed == len(vision.levels) else own
        states = []
        for expert, row in enumerate(self.expert_rows):
            level = mapped.get(row)
            if level is not None and self.level_embeddings is not None and row + 1 != vision.removed:
                level = level + self.level_embeddings[expert]
            states.append(torch.zeros_like(own) if level is None else level)
        return own, Experts(torch.stack(states, 1))

    def _requests(
        self, noise: Mapping[ManagerKey, Tensor], intervene: Mapping[ManagerKey, Intervention] | None, *, record: bool
    ) -> Requests:
        """Name by decoder layer what is asked of managers, whose experts are some of the offered levels."""
        return Requests(
            noise={layer: drawn for (_, layer), drawn in noise.items()},
            intervene={layer: self.offered[layer].intervene(each) for (_, layer), each in (intervene or {}).items()},
            record=record,
        )

    def _output(
        self, image: Pass, hidden: Tensor, told: Tensor, last: Tensor, likelihoods: Tensor | None
    ) -> CrossModalOutput:
        """Put together what is returned for one of the images."""
        requests, states = image.requests, image.images.gather(hidden)
        return CrossModalOutput(
            text=told,
            image=states,
            pooled=torch.cat([last, states[:, -1]], -1),
            recorded={("image", layer): self.offered[layer].recorded(each) for layer, each in requests.recorded.items()}
            if requests.record
            else None,
            auxiliary=functools.reduce(torch.add, requests.auxiliary) if requests.auxiliary else None,
            likelihoods=likelihoods,
        )

    def _continuation(self, words: Tensor, continuation: Tensor | None) -> Continuation | None:
        """Embed what stands behind each prompt: a given answer, or the tree of those that are scored."""
        if continuation is not None:
            return embed_continuation(continuation, self.tower.embed)
        if self.scorer is None:
            return None
        tree = self.tower.embed(self.scorer.tokens).to(words.dtype).expand(len(words), -1, -1)
        return Continuation(tree, self.scorer.depths, self.scorer.seen)

    def _likelihoods(self, last: Tensor, behind: Tensor, continuation: Tensor | None) -> Tensor | None:
        """Score what is asked for, see `CrossModalOutput.likelihoods`."""
        if continuation is not None:
            return continuation_likelihoods(continuation, last, behind, self.tower.logits).unsqueeze(1)
        if self.scorer is not None:
            scores: Tensor = self.scorer(last, behind, self.tower.logits)
            return scores
        if self.answers is not None:
            return to_full_precision(self.tower.logits(last)).log_softmax(-1)
        return None

    def _run(self, hidden: Tensor, places: Tensor, visible: Tensor, images: list[Pass] | None, cache: Any) -> Tensor:
        """Run the decoder layers on states [B, T, D], with managers where there are images; norm what comes out.

        Args:
            hidden: the states.
            places: their positions, [B, T].
            visible: which tokens each attends to, those of the cache included, bool [B, 1, T, T'].
            images: what managers are given for each image of a text; None: they are not called.
            cache: of keys and values; None: these are not kept.

        """
        network = self.tower.network.model
        rotary = network.rotary_emb(hidden, position_ids=places)
        kept = {} if cache is None else {_cache_argument(network.layers[0]): cache}
        for number, layer in enumerate(network.layers):
            if str(number) in self.managers_by_layer:
                for each in images or ():
                    hidden = each.inject(self.manager("image", number), number, hidden)
            run = functools.partial(
                layer,
                attention_mask=visible,
                position_ids=places,
                position_embeddings=rotary,
                use_cache=cache is not None,
                **kept,
            )
            hidden = self._layer(run, hidden)
        normed: Tensor = network.norm(hidden)
        return normed

    def _layer(self, run: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        if not self.recompute or not torch.is_grad_enabled():
            return run(hidden)
        out: Tensor = checkpoint(run, hidden, use_reentrant=False)
        return out

    def _next_positions(self, prompts: Features, images: int) -> tuple[Tensor, Tensor]:
        """Return position [B, 1] and view, bool [B, 1, 1, T], of the token behind each prompt, itself left out."""
        words = prompts.levels[-1]
        text = Columns(images, images + words.shape[1], prompts.mask)
        real = words.new_ones(words.shape[:2], dtype=torch.bool) if prompts.mask is None else prompts.mask
        places = torch.as_tensor(text.ends(), device=words.device).expand(len(words), 1)
        return places, F.pad(real, (images, 0), value=True)[:, None, None, :]


def _cache_argument(layer: nn.Module) -> str:
    """Name the argument that takes a cache, which older versions of transformers call otherwise."""
    return "cache" if "cache" in inspect.signature(layer.forward).parameters else "past_key_values"
