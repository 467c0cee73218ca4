"""`mtlab inspect` on the folder of an imported official checkpoint."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import checkpoint, hyperparameters
from PIL import Image

from mtlab.cli import main
from mtlab.interop.importing import ImportOptions, import_checkpoint


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Import a ManagerTower, and give it a tokeniser of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    bundle, folder = "mt_aaue_vector", tmp_path / "ours"
    import_checkpoint(
        checkpoint(bundle, tmp_path / "published.ckpt"), folder, ImportOptions(hyperparameters=hyperparameters(bundle))
    )
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "photo", "of", "cat"]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    made.save(str(folder / "text/tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "text/tokenizer_config.json").write_text(json.dumps(about))
    return folder


def test_words_and_patches_of_an_imported_checkpoint(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "cat.png")
    given = ["--image", str(tmp_path / "cat.png"), "--text", "a photo of cat"]
    monkeypatch.setattr(sys, "argv", ["mtlab", "inspect", str(imported), *given])
    assert main() == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert out.startswith("ours (imported checkpoint)")
    for word in ("<s>", "a", "photo", "of", "cat", "</s>"):
        assert f"{word}₁" in out or f"{word}₂" in out or f"{word}₃" in out or f"{word}₄" in out
    assert "it answers no questions: there is no answer to show" in " ".join(out.split())
    monkeypatch.setattr(sys, "argv", ["mtlab", "inspect", str(imported), *given, "--json", "--weights"])
    assert main() == 0
    data = json.loads(capsys.readouterr().out)
    assert [layer["layer"] for layer in data["text"]["layers"]] == list(range(1, len(data["text"]["layers"]) + 1))
    assert data["prediction"] is None
    assert data["image"]["layers"][0]["tokens"][0]["place"] is None  # the class token lies nowhere
    assert data["image"]["layers"][0]["tokens"][1]["place"] == [0, 0]


def test_it_has_no_examples(
    imported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mtlab", "inspect", str(imported)])
    assert main() == 2
    err = capsys.readouterr().err
    assert "an imported checkpoint has no examples of its own: give --image FILE and --text SENTENCE" in err
    assert err.count("\n") == 1
