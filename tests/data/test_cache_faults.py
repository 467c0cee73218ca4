"""The expert cache where things go wrong: builds that stop, damaged files, full disks, several processes at once."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from cached_words import DATA, FLOAT32, PLANTED, TEXT, own_cache, texts  # noqa: F401 - the fixture

from mtlab.config.schema import CacheConfig
from mtlab.data.cache import build
from mtlab.data.cache.expert_cache import open_expert_cache
from mtlab.data.cache.key import CHUNK
from mtlab.data.cache.locks import LOCKS, QUARANTINE
from mtlab.data.cache.size_limit import LIMIT_VARIABLE, evict
from mtlab.errors import UserError
from mtlab.towers.planted import PlantedText


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
    with pytest.raises(UserError, match="too large for float16: use float32"):
        open_expert_cache("text", node, PLANTED, CacheConfig(dtype="float16"), root=tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_tower_that_gives_nan_is_told_and_no_type_is_advised(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(PlantedText, "_noise", lambda _, items: torch.full((len(items), 6, 4, 32), torch.nan))
    with pytest.raises(UserError, match=r"^text: the tower gives infinite values or NaN: are its weights damaged\?$"):
        open_expert_cache("text", {"name": "planted"}, PLANTED, CacheConfig(dtype=dtype), root=tmp_path)


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
