"""The expert cache: right numbers, the same bits whoever computes them, and no way to lose or mix them up."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mtlab.config.options import option
from mtlab.config.schema import CacheConfig
from mtlab.data.base import SPLITS, Dataset, Example, register_dataset
from mtlab.data.cache import build
from mtlab.data.cache.expert_cache import open_expert_cache
from mtlab.data.cache.extract import extract_features
from mtlab.data.cache.key import CHUNK, cache_key
from mtlab.data.cache.locks import LOCKS, QUARANTINE
from mtlab.data.cache.size_limit import LIMIT_VARIABLE, evict
from mtlab.errors import UserError
from mtlab.towers.build import build_tower

TEXT = {"name": "tiny_text", "layers": "top2", "depth": 3, "width": 16}
VISION = {"name": "tiny_vision", "layers": [1, -1], "depth": 3, "width": 16}
DATA = {"name": "words", "items": 300}
PLANTED = {"name": "planted", "train": 200, "val": 50, "test": 50}
FLOAT32 = CacheConfig(dtype="float32")


@register_dataset("words")
class Words(Dataset):
    """Numbered sentences of different length, about images of one colour each."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        items: int = option(300, "examples of each split", minimum=1)

    @property
    def answers(self):
        return ["yes", "no"]

    def examples(self, split):
        start = SPLITS.index(split) * self.config.items // 2  # splits share half of their texts and images
        return [
            Example(f"{split}/{n}", self.text(n), str(n), n % 2, "any") for n in range(start, start + self.config.items)
        ]

    def text(self, number):
        return " ".join(f"word{number * step % 97}" for step in range(1, 2 + number % 7)) + f" {number}"

    def image(self, key):
        return np.full((20, 30, 3), int(key) % 251, np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)


def words():
    return Words(Words.Config())


def texts():
    return sorted({example.text for split in SPLITS for example in words().examples(split)})


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


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


def test_progress_counts_items(tmp_path):
    seen = []
    open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path, progress=lambda *news: seen.append(news))
    assert seen[0] == (CHUNK, 600)
    assert seen[-1] == (600, 600)
    seen.clear()
    open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path, progress=lambda *news: seen.append(news))
    assert seen == []


def test_building_goes_on_from_whole_chunks(tmp_path):
    def stop(done, _):
        if done >= 2 * CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path / "cut", progress=stop)
    (cut,) = (path for path in (tmp_path / "cut/experts").iterdir() if path.name != LOCKS)
    kept = {path.name: path.stat().st_mtime_ns for path in cut.glob("chunks/*.safetensors")}
    assert len(kept) == 2
    seen = []
    resumed = open_expert_cache(
        "text", TEXT, DATA, FLOAT32, root=tmp_path / "cut", progress=lambda *news: seen.append(news)
    )
    assert seen[0] == (3 * CHUNK, 600)
    whole = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path / "whole")
    assert (resumed.path / "features.bin").read_bytes() == (whole.path / "features.bin").read_bytes()
    assert not (resumed.path / "chunks").exists()


def test_a_damaged_chunk_of_an_unfinished_entry_is_computed_anew(tmp_path, caplog):
    def damage(done, _):
        if done == 3 * CHUNK:
            (path,) = (tmp_path / "experts").glob("*/chunks/00001.safetensors")
            data = bytearray(path.read_bytes())
            data[-5] ^= 1
            path.write_bytes(data)

    cached = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path, progress=damage)
    good = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path / "good")
    assert (cached.path / "features.bin").read_bytes() == (good.path / "features.bin").read_bytes()
    assert "damaged" in caplog.text
    assert list((tmp_path / "experts" / QUARANTINE).iterdir())


def test_a_flipped_bit_is_found_told_and_mended(tmp_path, caplog):
    path = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path).path
    good = (path / "features.bin").read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 4
    (path / "features.bin").write_bytes(bad)
    open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    assert (path / "features.bin").read_bytes() == good
    assert "was damaged" in caplog.text
    (kept,) = (tmp_path / "experts" / QUARANTINE).iterdir()
    assert kept.read_bytes() in bytes(bad)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "features.bin").write_bytes((path / "features.bin").read_bytes()[:-8]),
        lambda path: (path / "features.bin").unlink(),
        lambda path: (path / "index.json").write_text("{"),
        lambda path: (path / "index.json").write_text(
            (path / "index.json").read_text().replace('"masked":true', '"masked":false')
        ),
    ],
)
def test_an_entry_that_lost_more_is_built_anew(tmp_path, damage, caplog):
    cached = open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    good = (cached.path / "features.bin").read_bytes(), (cached.path / "index.json").read_bytes()
    damage(cached.path)
    open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)
    assert ((cached.path / "features.bin").read_bytes(), (cached.path / "index.json").read_bytes()) == good
    assert "damaged" in caplog.text


def filled(root, seed):
    cached = open_expert_cache("text", {**TEXT, "seed": seed}, DATA, FLOAT32, root=root)
    cached.close()
    return cached.path


def test_the_least_recently_used_go_first_and_none_in_use(tmp_path):
    a, b, c, d = (filled(tmp_path, seed) for seed in range(4))
    for age, path in enumerate((b, a, d, c)):  # b was used longest ago
        os.utime(path / "used", (1000 + age, 1000 + age))
    held = open_expert_cache("text", {**TEXT, "seed": 1}, DATA, FLOAT32, root=tmp_path)  # b is open …
    os.utime(b / "used", (1, 1))
    size = sum(path.stat().st_size for path in a.iterdir())
    assert set(evict(tmp_path / "experts", int(2.5 * size))) == {a.name, d.name}  # … so the next oldest go
    assert held.fetch(texts()[:3]).levels[0].isfinite().all()
    held.close()
    assert evict(tmp_path / "experts", size + size // 2) == [b.name]
    assert c.exists()


def test_the_limit_is_kept_after_each_build(tmp_path, monkeypatch):
    first = filled(tmp_path, 0)
    size = sum(path.stat().st_size for path in first.iterdir())
    monkeypatch.setenv(LIMIT_VARIABLE, str(1.5 * size / 1e9))
    os.utime(first / "used", (1, 1))
    second = filled(tmp_path, 1)
    assert second.exists()
    assert not first.exists()


@pytest.mark.parametrize("text", ["none", "-1", "0", "nan"])
def test_a_limit_that_is_no_size(tmp_path, monkeypatch, text):
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(UserError, match=LIMIT_VARIABLE):
        open_expert_cache("text", TEXT, DATA, FLOAT32, root=tmp_path)


def test_features_too_large_for_the_type_are_refused(tmp_path):
    node = {"name": "planted", "signal": 1e6}
    with pytest.raises(UserError, match="float32"):
        open_expert_cache("text", node, PLANTED, CacheConfig(dtype="float16"), root=tmp_path)


WORKER = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    import mtlab.data.cache.extract as extract
    from mtlab.config.schema import CacheConfig
    from mtlab.data.cache.expert_cache import open_expert_cache

    root, nodes, data, pause = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), float(sys.argv[4])
    compute = extract.FeatureExtractor.compute

    def slowly(self, keys):  # there is time to kill us in the middle
        print("at it", flush=True)
        time.sleep(pause)
        return compute(self, keys)

    if pause:
        extract.FeatureExtractor.compute = slowly
    config = CacheConfig(dtype="float32")
    caches = [open_expert_cache(node.pop("kind"), node, data, config, root=root) for node in nodes]
    heavy = sorted({"timm", "transformers"} & set(sys.modules))
    print(json.dumps({"items": [len(cached) for cached in caches], "heavy": heavy}), flush=True)
    """
)


def worker(root, *nodes, data=PLANTED, pause=0.0):
    command = [sys.executable, "-c", WORKER, str(root), json.dumps(nodes), json.dumps(data), str(pause)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


PLANTED_TEXT = {"kind": "text", "name": "planted"}


@pytest.mark.slow
def test_several_processes_share_one_build_and_a_dead_one_holds_up_nobody(tmp_path):
    data = {**PLANTED, "train": 1000}
    victim = worker(tmp_path / "shared", PLANTED_TEXT, data=data, pause=600.0)
    assert victim.stdout.readline() == "at it\n"  # it has claimed a chunk, and would sit on it for minutes
    others = [worker(tmp_path / "shared", PLANTED_TEXT, data=data, pause=0.05) for _ in range(2)]
    time.sleep(1.0)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    told = [process.communicate(timeout=120)[0].splitlines() for process in others]
    assert [json.loads(lines[-1])["items"] for lines in told] == [[1100]] * 2
    computed = sum(lines.count("at it") for lines in told)
    assert computed == -(-1100 // CHUNK)  # every chunk once, by one or the other
    node = {"name": "planted"}
    shared = open_expert_cache("text", node, data, FLOAT32, root=tmp_path / "shared")
    alone = open_expert_cache("text", node, data, FLOAT32, root=tmp_path / "alone")
    assert (shared.path / "features.bin").read_bytes() == (alone.path / "features.bin").read_bytes()
    assert (shared.path / "index.json").read_bytes() == (alone.path / "index.json").read_bytes()


def test_one_that_hangs_is_overtaken(tmp_path, monkeypatch):
    frozen = worker(tmp_path, PLANTED_TEXT, pause=120.0)
    try:
        assert frozen.stdout.readline() == "at it\n"
        monkeypatch.setattr(build, "STALL_SECONDS", 0.5)
        cached = open_expert_cache("text", {"name": "planted"}, PLANTED, FLOAT32, root=tmp_path)
        assert len(cached) == 300
    finally:
        frozen.kill()
        frozen.wait()


@pytest.mark.slow
def test_a_finished_cache_needs_neither_timm_nor_transformers(tmp_path):
    data = {"name": "shapes", "train": 24, "val": 8, "test": 8}
    nodes = (
        {"kind": "text", "name": "minilm"},
        {"kind": "vision", "name": "efficientnet_lite0"},
        {"kind": "vision", "name": "timm", "model": "test_vit", "weights": "random", "image_size": 32},
    )
    first, second = (json.loads(worker(tmp_path, *nodes, data=data).communicate(timeout=120)[0]) for _ in range(2))
    assert first["heavy"] == ["timm", "transformers"]
    assert second == {"items": first["items"], "heavy": []}


def test_no_folder_of_the_entry_is_left_half_written(tmp_path):
    path = filled(tmp_path, 0)
    assert sorted(entry.name for entry in path.iterdir()) == ["features.bin", "index.json", "pack.lock", "used"]
