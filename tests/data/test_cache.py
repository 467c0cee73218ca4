"""The expert cache: right numbers, the same bits whoever computes them, and keys that tell what differs."""

import importlib
from pathlib import Path

import cached_words
import pytest
import torch
from cached_words import DATA, FLOAT32, TEXT, VISION, own_cache, relative, texts, words  # noqa: F401 - the fixture

from mtlab.config.schema import CacheConfig
from mtlab.data.cache.expert_cache import open_expert_cache
from mtlab.data.cache.extract import extract_features
from mtlab.data.cache.key import cache_key
from mtlab.data.truncation import count_truncated_texts
from mtlab.towers.build import build_tower


def test_what_is_fetched_is_what_the_tower_gives(tmp_path):
    cached = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    chosen = [texts()[n] for n in (5, 300, 17, 5)]
    found, expected = cached.fetch(chosen), extract_features(build_tower("text", TEXT), chosen)
    assert torch.equal(found.mask, expected.mask)
    assert len(found.levels) == 2
    for got, wanted in zip(found.levels, expected.levels, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == torch.float32
        assert relative(got[found.mask], wanted[found.mask]) < 1e-4
        assert got[~found.mask].eq(0).all()


def test_images_come_without_a_mask(tmp_path):
    cached = open_expert_cache("vision", VISION, DATA, FLOAT32, root=tmp_path)
    found = cached.fetch(["3", "250"])
    expected = extract_features(build_tower("vision", VISION), [words().image("3"), words().image("250")])
    assert found.mask is None
    assert [level.shape for level in found.levels] == [(2, 17, 16)] * 2
    assert all(relative(*pair) < 1e-4 for pair in zip(found.levels, expected.levels, strict=True))


def test_levels_of_different_width(tmp_path):
    node = {"name": "timm", "model": "test_efficientnet", "weights": "random", "image_size": 64, "layers": [2, 5]}
    cached = open_expert_cache("vision", node, {**DATA, "items": 20}, FLOAT32, root=tmp_path)
    expected = extract_features(build_tower("vision", node), [words().image("7")])
    found = cached.fetch(["7"])
    assert [level.shape for level in found.levels] == [level.shape for level in expected.levels]
    assert all(relative(*pair) < 1e-4 for pair in zip(found.levels, expected.levels, strict=True))


def test_the_last_norm_of_a_pyramid_is_that_of_its_top_level_whatever_is_stored(tmp_path):
    swin = {"name": "timm", "model": "swin_tiny_patch4_window7_224", "weights": "random", "norm": "own"}
    node = {**swin, "layers": "top1"}
    cached = open_expert_cache("vision", node, {**DATA, "items": 4}, CacheConfig(levels="all"), root=tmp_path)
    assert cached.fetch(["3"]).levels[0].shape == (1, 49, 768)


@pytest.mark.parametrize("layers", [[1], [2, 3], [1, 3], "all"])
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_variants_with_other_levels_share_an_entry_that_holds_all(tmp_path, tower, layers):
    """The bits are those of an entry of the offered levels alone."""
    kind, node = ("text", TEXT) if tower == "text" else ("vision", VISION)
    keys = [texts()[n] for n in (5, 300, 17)] if tower == "text" else ["3", "250"]
    every = CacheConfig(dtype="float16", levels="all")
    whole = open_expert_cache(kind, {**node, "layers": "all"}, DATA, every, root=tmp_path)
    shared = open_expert_cache(kind, {**node, "layers": layers, "gate": len(layers) > 1}, DATA, every, root=tmp_path)
    own = open_expert_cache(kind, {**node, "layers": layers}, DATA, CacheConfig(dtype="float16"), root=tmp_path / "own")
    assert shared.path == whole.path
    found, expected = shared.fetch(keys), own.fetch(keys)
    assert len(found.levels) == len(expected.levels) == (3 if layers == "all" else len(layers))
    for one, other in zip(found.levels, expected.levels, strict=True):
        assert torch.equal(one, other)
    assert (found.mask is None) == (tower == "vision")
    assert found.mask is None or torch.equal(found.mask, expected.mask)


def test_widths_differ_in_an_entry_that_holds_all(tmp_path):
    node = {"name": "timm", "model": "test_efficientnet", "weights": "random", "image_size": 64, "layers": [1, 2, 5]}
    small = {**DATA, "items": 20}
    shared = open_expert_cache("vision", node, small, CacheConfig(levels="all"), root=tmp_path).fetch(["7", "8"])
    own = open_expert_cache("vision", node, small, CacheConfig(), root=tmp_path).fetch(["7", "8"])
    assert all(torch.equal(*pair) for pair in zip(shared.levels, own.levels, strict=True))
    assert len({level.shape for level in own.levels}) == 3


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_smaller_types_round_and_nothing_else(tmp_path, dtype, tolerance):
    exact = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    small = open_expert_cache("text", TEXT, DATA, CacheConfig(dtype=dtype), root=tmp_path)
    chosen = texts()[:40]
    assert relative(small.fetch(chosen).levels[0], exact.fetch(chosen).levels[0]) < tolerance
    halved = (small.path / "features.bin").stat().st_size * 2
    assert halved == (exact.path / "features.bin").stat().st_size


def test_each_text_is_stored_once_and_without_padding(tmp_path):
    cached = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    assert len(cached) == len(texts()) == 600
    tower = build_tower("text", TEXT)
    tokens = sum(int(tower.prepare([text])[1].sum()) for text in texts())
    assert (cached.path / "features.bin").stat().st_size == tokens * 2 * 16 * 4
    assert texts()[0] in cached
    assert "never asked" not in cached
    with pytest.raises(KeyError):
        cached.fetch(["never asked"])


def test_the_bits_do_not_depend_on_threads_or_on_who_computed_what(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path / "one")
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        two = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path / "two")
    finally:
        torch.set_num_threads(before)
    assert one.path.name == two.path.name
    assert (one.path / "features.bin").read_bytes() == (two.path / "features.bin").read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"node": {**TEXT, "layers": "top1"}},
        {"node": {**TEXT, "seed": 1}},
        {"node": {**TEXT, "max_length": 16}},
        {"data": {**DATA, "items": 301}},
        {"cache": CacheConfig(dtype="float16")},
    ],
)
def test_whatever_changes_a_number_names_another_entry(changed):
    known = {"node": TEXT, "data": DATA, "cache": FLOAT32}
    name = cache_key("text", known["node"], known["data"], known["cache"]).name
    known |= changed
    assert cache_key("text", known["node"], known["data"], known["cache"]).name != name


def test_an_edited_plug_in_names_another_entry(tmp_path, monkeypatch):
    file = tmp_path / "edited_words.py"
    file.write_text(Path(cached_words.__file__).read_text().replace('("words")', '("edited_words")'))
    monkeypatch.syspath_prepend(tmp_path)
    data = {"name": "edited_words", "items": 300}
    config, module = {"text": {**TEXT, "max_length": 4}, "data": data}, importlib.import_module("edited_words")
    before, cut = cache_key("vision", VISION, data, FLOAT32).name, count_truncated_texts(config, module.words())
    file.write_text(file.read_text().replace("% 251", "% 7"))
    assert cache_key("vision", VISION, data, FLOAT32).name == before  # this process goes on with what it imported
    edited = importlib.reload(module).words()
    monkeypatch.setattr(type(edited), "text", lambda _self, number: str(number))
    assert cache_key("vision", VISION, data, FLOAT32).name != before
    assert cut
    assert not count_truncated_texts(config, edited)


def test_what_changes_no_number_keeps_the_entry():
    name = cache_key("text", TEXT, DATA, FLOAT32).name
    same = {**TEXT, "layers": [2, -1], "lr_scale": 0.1}  # of three levels
    assert cache_key("text", same, dict(reversed(DATA.items())), FLOAT32).name == name


def test_weights_are_known_by_content_not_by_place(tmp_path):
    from safetensors.torch import save_file

    tower = build_tower("vision", {"name": "timm", "model": "test_vit", "weights": "random", "image_size": 32})
    names = []
    for path in (tmp_path / "a.safetensors", tmp_path / "b.safetensors"):
        save_file(tower.network.state_dict(), path)
        node = {"name": "timm", "model": "test_vit", "weights": str(path), "image_size": 32}
        names.append(cache_key("vision", node, DATA, FLOAT32).name)
    assert names[0] == names[1]


def test_a_trained_tower_is_never_cached(tmp_path):
    with pytest.raises(ValueError, match="trained"):
        open_expert_cache("text", {**TEXT, "trainable": True}, DATA, FLOAT32, root=tmp_path)
