"""A language model as the encoder of a run: transformers' own numbers, exact likelihoods, zeros that change nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mllm import tiny_language_model
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2ForCausalLM, Qwen3ForCausalLM

from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.runs import checkpoints
from mtlab.tasks.build import TaskModel, build
from mtlab.towers.base import Features, TowerShape
from mtlab.towers.build import build_tower, tower_shape

ANSWERS = ("red", "dark blue", "dark red", "dark", "no")  # one begins with another: ends are predicted too
WORDS = ["<pad>", "<end>", "Question:", "Answer:", "what", "is", "it", "red", "dark", "blue", "no", "?"]
TEXTS = ("what is it", "is it")
VISION = TowerShape((12, 12, 12), (1, 3, 4), 4, 5, class_token=True, positions=True)
IDENTICAL: list[dict[str, Any]] = [
    {"name": "residual_static", "noise": 0.1},
    {"name": "residual_adaptive"},
    {"name": "residual_adaptive", "query": "cross"},
    {"name": "depth_weighted"},
    {"name": "mudd"},
    {"name": "mmfuser"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_language_model(tmp_path, WORDS)


def built(folder: Path, manager: str | dict[str, Any] = "last", **options: Any) -> TaskModel:
    """A model with `text` and `model` options, on questions whose answers are `ANSWERS`."""
    text = {"name": "causal_lm", "model": str(folder)} | options.pop("text", {})
    config = {
        "manager": {"name": manager} if isinstance(manager, str) else manager,
        "text": text,
        "model": {"name": "mllm", "inject": {"layers": [0, 2, 4]}} | options,
        "task": {"name": "question_answering"},
        "data": {"name": "answers_of_tests"},
    }
    tower = build_tower("text", text)
    return build(config, tower_shape("text", text), VISION, answers=len(ANSWERS), seed=1, text_tower=tower).eval()


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlab.tasks.build.dataset_answers", lambda _config: ANSWERS)


def encoder_of(model: TaskModel) -> LanguageModelEncoder:
    assert isinstance(model.encoder, LanguageModelEncoder)
    return model.encoder


def inputs(model: TaskModel, texts: tuple[str, ...] = TEXTS) -> tuple[Features, Features]:
    generator = torch.Generator().manual_seed(2)
    levels = tuple(torch.randn(2, 5, 12, generator=generator)[: len(texts)] for _ in range(3))
    tower = encoder_of(model).tower
    return tower(*tower.prepare(texts)), Features(levels)


def logits(model: TaskModel, **options: Any) -> Tensor:
    with torch.no_grad():
        return model(*inputs(model), **options).logits


@pytest.mark.parametrize("kind", [LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM])
def test_states_and_likelihoods_are_those_of_transformers(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = PreTrainedTokenizerFast.from_pretrained  # Qwen's own class would split words in its own way
    monkeypatch.setattr("mtlab.towers.loading.text_encoders.load_tokeniser", read)
    model = built(tiny_language_model(tmp_path, WORDS, kind=kind, num_key_value_heads=1))
    encoder, (text, vision) = encoder_of(model), inputs(model)
    network, (own, _) = encoder.tower.network, encoder._image(vision)
    assert text.mask is not None
    with torch.no_grad():
        fused = encoder(text, vision)
        mask = F.pad(text.mask, (5, 0), value=True)
        plain = network.model(inputs_embeds=torch.cat([own, text.levels[0]], 1), attention_mask=mask.long())
        states = torch.cat([fused.image, fused.text], 1)
        torch.testing.assert_close(states[mask], plain.last_hidden_state[mask], atol=1e-5, rtol=1e-5)
        for row, words in enumerate(TEXTS):
            prompt = [WORDS.index(word) for word in f"Question: {words} Answer:".split()]
            for number, answer in enumerate(ANSWERS):
                said = [*map(WORDS.index, answer.split()), 1]
                embedded = network.model.embed_tokens(torch.tensor([prompt + said[:-1]]))
                predicted = network(inputs_embeds=torch.cat([own[row : row + 1], embedded], 1)).logits.log_softmax(-1)
                expected = predicted[0, -len(said) :][range(len(said)), said].sum()
                torch.testing.assert_close(fused.likelihoods[row, number], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("node", IDENTICAL, ids=lambda node: "-".join(map(str, node.values())))
def test_what_starts_as_the_plain_model_gives_its_logits_to_the_bit(folder: Path, node: dict[str, Any]) -> None:
    model = built(folder, node)
    noise = {key: manager.draw_noise(2, 5) for key, manager in model.encoder.managers() if manager.noise_scale}
    assert torch.equal(logits(model, noise=noise), logits(built(folder)))
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.3)
    if any(name.endswith("gate") for name, _ in model.encoder.named_parameters()):
        assert not torch.allclose(logits(model), logits(built(folder)), atol=1e-3)


def test_a_row_is_the_same_alone_and_beside_a_longer_one(folder: Path) -> None:
    model = built(folder, {"name": "residual_adaptive", "query": "cross"})
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.3)
    text, vision = inputs(model)
    alone, _ = inputs(model, TEXTS[1:])
    with torch.no_grad():
        found = model(alone, vision.at(slice(1, 2))).logits
        torch.testing.assert_close(model(text, vision).logits[1:], found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("entry", list(MANAGERS), ids=lambda entry: entry.name)
def test_every_manager_runs_records_and_learns(folder: Path, entry: Any) -> None:
    model = built(folder, entry.name, text={"trainable": True}).train()
    fused = model(*inputs(model), record=True).fused
    loss = model.task.loss(fused.likelihoods, torch.tensor([1, 3]))
    (loss if fused.auxiliary is None else loss + fused.auxiliary).backward()
    assert set(fused.recorded) == {("image", 0), ("image", 2), ("image", 4)}
    inert = {name for (_, layer), each in model.encoder.managers() for name in _inert(layer, each)}
    lost = {name for name, each in model.named_parameters() if each.requires_grad and each.grad is None}
    assert {name for name in lost - inert if "key.bias" not in name} == set()


def _inert(layer: int, manager: Any) -> set[str]:
    return {f"encoder.managers_by_layer.{layer}.{name}" for name in manager.inert}


def test_recomputed_activations_give_the_same_gradients(folder: Path) -> None:
    gradients = []
    for recompute in (False, True):
        model = built(folder, "residual_static", text={"trainable": True}).train()
        if recompute:
            model.recompute()
        model(*inputs(model)).logits.sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 40
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_what_is_trained_of_the_language_model_is_chosen(folder: Path) -> None:
    def parts(**text: Any) -> set[str]:
        model = built(folder, text=text)
        trained = {name for name, each in model.named_parameters() if each.requires_grad and "towers" in name}
        kept = checkpoints.model_tensors(model)
        assert all(name in kept for name in trained)
        assert any(name.startswith("towers") for name in kept) == bool(trained)
        return {"embeddings" if "embed" in name or "lm_head" in name else "layers" for name in trained}

    assert parts() == set()
    assert parts(trainable=True) == {"layers"}
    assert parts(trainable=True, embeddings=True) == {"layers", "embeddings"}


def test_a_head_answers_from_the_last_token(folder: Path) -> None:
    model = built(folder, answers="head")
    fused = model(*inputs(model)).fused
    assert fused.likelihoods is None
    assert fused.pooled.shape == (2, 32)
    torch.testing.assert_close(fused.pooled[1, :16], fused.text[1, 3])
    assert logits(model).shape == (2, 5)


def test_long_texts_are_cut_in_front_of_the_prompts_end(folder: Path) -> None:
    tower = encoder_of(built(folder, text={"max_length": 4})).tower
    ids, mask = tower.prepare(["what is it", "it"])
    words = [[WORDS[token] for token, real in zip(*row, strict=True) if real] for row in zip(ids, mask, strict=True)]
    assert words == [["Question:", "what", "is", "Answer:"], ["Question:", "it", "Answer:"]]
    assert tower.count_truncated(["what is it", "it"]) == 1
    assert tower.token_strings(tower.config, ["what is it"]) == [["Question:", "what", "is", "Answer:"]]


def test_a_text_without_tokens_is_told_in_a_line(folder: Path) -> None:
    tower = encoder_of(built(folder, text={"prompt": "{}"})).tower
    assert len(tower.prepare(["it"])[0]) == 1
    for read in (tower.prepare, tower.count_truncated):
        with pytest.raises(UserError, match=r"^text\.prompt: a text without tokens leaves nothing"):
            read(["it", ""])


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"inject": {"layers": [0, 5]}}, r"model.inject.layers: expected layers of the language model, 0 to 4, found"),
        ({"inject": {"layers": [1, 1]}}, "model.inject.layers: names a layer twice"),
        ({"inject": {"layers": []}}, "model.inject.layers: expected layers"),
        ({"text": {"depth": 6}}, "text.depth: cannot keep 6 of 5 layers"),
        ({"text": {"prompt": "what"}}, r"text.prompt: expected one {} for the text"),
        ({"text": {"model": "/nowhere"}}, "/nowhere: text.model: no such model folder"),
    ],
)
def test_bad_input_is_told_in_a_line(folder: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        built(folder, **changed)


def test_a_connector_needs_the_first_layer_and_another_family_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"model\.inject.layers: dense_connector joins levels in front of layer 0 alone"
    ):
        built(folder, "dense_connector", inject={"layers": [2]})
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"gpt2"'))
    with pytest.raises(UserError, match=r"text.model: a model of type 'gpt2': expected one of llama, qwen2, qwen3"):
        built(folder)


def test_answers_that_are_too_many_or_alike_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtlab.tasks.build.dataset_answers", lambda _config: ("apple", "pear"))
    with pytest.raises(UserError, match=r"model\.answers: two answers have the same tokens"):
        built(folder)
    many = tuple(f"{one} {other} no" for one in WORDS[4:] for other in WORDS[4:])
    monkeypatch.setattr("mtlab.tasks.build.dataset_answers", lambda _config: many)
    with pytest.raises(UserError, match=r"model\.answers: 64 answers of several tokens need 72 .* set it to head"):
        built(folder)
