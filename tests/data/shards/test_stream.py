"""Streaming: every text once, the same batches for any number of processes, from any step on."""

import logging
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_shards import opened

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.streaming.epoch import LANES, WINDOW, Epoch, shard_passes
from mtlab.data.shards.streaming.sample_loader import SampleBatch, SampleLoader, StreamedTexts
from mtlab.data.shards.streaming.schedule import grain_size
from mtlab.data.shards.streaming.worker_reader import TrainingReader, WorkerInfo
from mtlab.data.transforms.base import build_transform
from mtlab.errors import UserError

SETTINGS = settings(max_examples=15)
AUGMENTED = build_transform({"name": "albef_randaug", "size": 8})
PLAIN = build_transform({"name": "albef", "size": 8})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    return opened(tmp_path_factory.mktemp("data"), 90)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    return opened(tmp_path_factory.mktemp("other"), 25, seed=1, name="other")


def texts(loaded: SampleBatch) -> list[str]:
    return [record.text for record in loaded.records]


def shares(
    stream: StreamedTexts, seed: int, batch: int, start: int, steps: int, ranks: int, workers: int
) -> list[list[str]]:
    """The batches of some steps as so many processes make them together, each text in its place."""
    found = []
    readers = {
        (rank, worker): TrainingReader(stream.datasets, PLAIN, seed, WorkerInfo(rank, ranks, worker, workers))
        for rank in range(ranks)
        for worker in range(workers)
    }
    for spans in islice(stream.steps(batch, start), steps):
        step = [""] * batch
        for (rank, _), reader in readers.items():
            share = reader.read(spans)
            for place, record in zip(share.positions, share.records, strict=True):
                assert not step[place * ranks + rank]
                step[place * ranks + rank] = record.text
        assert all(step)
        found.append(step)
    return found


def test_an_epoch_has_every_text_but_its_remainder_once(shards: ShardFolder) -> None:
    stream = StreamedTexts([(shards, "train")])
    loader = SampleLoader(stream, PLAIN)
    batch, everything = 32, {record.text for record in shards.records("train")}
    assert len(loader) == len(everything) == shards.size("train")
    steps = len(loader) // batch
    assert len(everything) > steps * batch
    left_out = []
    batches = loader.steps(0, batch)
    for _ in range(3):
        epoch = [text for loaded in islice(batches, steps) for text in texts(loaded)]
        assert len(epoch) == len(set(epoch)) == steps * batch
        left_out.append(everything - set(epoch))
    assert len({frozenset(left) for left in left_out}) == 3


@SETTINGS
@given(
    ranks=st.sampled_from([1, 2, 3, 4, 8]),
    workers=st.integers(1, 5),
    start=st.integers(0, 40),
    seed=st.integers(0, 3),
    cut=st.sampled_from(["train", "train[:40]", "train[13:]", "train[:3]"]),
)
def test_batches_depend_on_seed_and_step_alone(
    shards: ShardFolder, ranks: int, workers: int, start: int, seed: int, cut: str
) -> None:
    stream = StreamedTexts([(shards, cut)])
    batch = 24 if stream.texts[0] >= 24 else 0
    if not batch:
        return
    alone = shares(stream, seed, batch, 0, start + 3, 1, 1)
    assert shares(stream, seed, batch, start, 3, ranks, workers) == alone[start:]


def test_other_seeds_and_epochs_are_other_orders(shards: ShardFolder) -> None:
    stream = StreamedTexts([(shards, "train")])
    orders = [shares(stream, seed, 32, start, 2, 1, 1) for seed in (0, 1) for start in (0, stream.texts[0] // 32)]
    assert len({str(order) for order in orders}) == 4


def test_a_batch_is_mixed(shards: ShardFolder) -> None:
    """Texts of an image come apart, and neighbours in a shard do not stay together."""
    (batch,) = shares(StreamedTexts([(shards, "train")]), 0, LANES, 0, 1, 1, 1)
    images = [text.split()[1] for text in batch]
    assert len(set(images)) > 0.6 * len(images)
    order = {record.text: at for at, record in enumerate(shards.records("train"))}
    places = [order[text] for text in batch]
    correlation = torch.corrcoef(torch.tensor([places, list(range(len(places)))], dtype=torch.float))[0, 1]
    assert abs(float(correlation)) < 0.35


def test_a_place_of_an_epoch_is_found_without_the_ones_before(shards: ShardFolder) -> None:
    parts = shard_passes(shards, "train", 0)
    epoch = Epoch(parts, 5, 2)
    seen = set()
    for lane in range(epoch.lanes):
        for number in range(-(-epoch.length(lane) // WINDOW)):
            window = epoch.window(lane, number)
            assert window == Epoch(parts, 5, 2).window(lane, number)
            seen |= {(parts.index(unit), place) for unit, place in window}
    assert len(seen) == epoch.texts == sum(unit.texts for unit in parts)


@pytest.mark.parametrize("workers", [1, 3])
def test_worker_processes_make_the_same_batches(shards: ShardFolder, workers: int) -> None:
    stream = StreamedTexts([(shards, "train")])
    alone = islice(SampleLoader(stream, AUGMENTED).steps(3, 20, 7), 20)
    shared = islice(SampleLoader(stream, AUGMENTED, workers=workers).steps(3, 20, 7), 20)
    for one, other in zip(alone, shared, strict=True):
        assert one.records == other.records
        assert torch.equal(one.pixels[0], other.pixels[0])
        assert one.pixels[0].shape == (20, 3, 8, 8)


def test_augmentation_changes_from_epoch_to_epoch(shards: ShardFolder) -> None:
    loader = SampleLoader(StreamedTexts([(shards, "train[:6]")]), AUGMENTED)
    steps = len(loader)
    found: list[dict[str, torch.Tensor]] = [{}, {}]
    for number, loaded in enumerate(islice(loader.steps(0, 1), 2 * steps)):
        found[number // steps][loaded.records[0].id] = loaded.pixels[0]
    assert found[0].keys() == found[1].keys()
    assert any(not torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_pixels_are_those_of_the_image(shards: ShardFolder) -> None:
    loader = SampleLoader(StreamedTexts([(shards, "train")]), PLAIN, workers=2)
    for loaded in islice(loader.steps(0, 16), len(loader) // 16):
        for record, pixels in zip(loaded.records, loaded.pixels[0], strict=True):
            image = torch.from_numpy(shards.image(record.images[0])).permute(2, 0, 1)
            assert torch.equal(pixels, PLAIN(image))


def test_ranks_with_workers_have_every_text_of_an_epoch_once(shards: ShardFolder) -> None:
    stream = StreamedTexts([(shards, "train")])
    steps = stream.texts[0] // 20
    found = [
        text
        for rank in range(2)
        for loaded in islice(SampleLoader(stream, PLAIN, workers=3, rank=rank, ranks=2).steps(0, 20), steps)
        for text in texts(loaded)
    ]
    assert sorted(found) == sorted(text for step in shares(stream, 0, 20, 0, steps, 1, 1) for text in step)
    assert len(found) == len(set(found)) == steps * 20


class TestMixtures:
    @SETTINGS
    @given(
        weights=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
        batch=st.sampled_from([16, 24, 30, 64]),
        ranks=st.sampled_from([1, 2]),
        workers=st.integers(1, 4),
        start=st.integers(0, 12),
    )
    def test_depend_on_seed_and_step_alone(
        self,
        shards: ShardFolder,
        other: ShardFolder,
        weights: tuple[float, float],
        batch: int,
        ranks: int,
        workers: int,
        start: int,
    ) -> None:
        stream = StreamedTexts([(shards, "train"), (other, "train")], weights)
        alone = shares(stream, 0, batch, 0, start + 2, 1, 1)
        assert shares(stream, 0, batch, start, 2, ranks, workers) == alone[start:]

    @SETTINGS
    @given(
        weights=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
        batch=st.sampled_from([8, 30, 64]),
        size=st.just(40),
    )
    def test_keep_to_their_weights(
        self, shards: ShardFolder, other: ShardFolder, weights: tuple[float, float], batch: int, size: int
    ) -> None:
        stream, counts = StreamedTexts([(shards, "train"), (other, "train")], weights), [0, 0]
        for step, spans in enumerate(islice(stream.steps(batch, 0), size), 1):
            assert sum(span.size for span in spans) == batch
            for span in spans:
                counts[span.dataset] += span.size
            for count, weight in zip(counts, weights, strict=True):
                assert abs(count - step * batch * weight / sum(weights)) <= 2 * grain_size(batch)

    def test_each_data_set_has_epochs_of_its_own(self, shards: ShardFolder, other: ShardFolder) -> None:
        batch = 32
        loader = SampleLoader(StreamedTexts([(shards, "train"), (other, "train")], (1.0, 3.0)), PLAIN)
        seen = [
            record.text
            for loaded in islice(loader.steps(0, batch), 40)
            for record, source in zip(loaded.records, loaded.sources, strict=True)
            if source == 1
        ]
        whole = other.size("train") // grain_size(batch) * grain_size(batch)
        assert len(seen) > 4 * whole
        for start in range(0, len(seen) - whole, whole):
            assert len(set(seen[start : start + whole])) == whole

    def test_without_weights_all_are_read_once(self, shards: ShardFolder, other: ShardFolder) -> None:
        loader = SampleLoader(StreamedTexts([(shards, "train"), (other, "train")]), PLAIN)
        epoch = [text for loaded in islice(loader.steps(0, 1), len(loader)) for text in texts(loaded)]
        assert sorted(epoch) == sorted(r.text for each in (shards, other) for r in each.records("train"))

    def test_grains_are_small_and_even(self) -> None:
        assert [grain_size(batch) for batch in (1, 8, 30, 32, 256, 512, 4096, 1000)] == [1, 1, 2, 4, 32, 64, 64, 8]


class TestRefused:
    def test_batches_that_cannot_be(self, shards: ShardFolder) -> None:
        loader = SampleLoader(StreamedTexts([(shards, "val")]), PLAIN, ranks=2)
        with pytest.raises(UserError, match=r"train\.batch: 3 cannot be shared by 2 ranks evenly"):
            next(loader.steps(0, 3))
        with pytest.raises(UserError, match=r"train\.batch: 4 is more than the 1 training examples"):
            next(loader.steps(0, 4))

    def test_mixtures_that_cannot_be(self, shards: ShardFolder) -> None:
        with pytest.raises(UserError, match="expected 1 weights above 0"):
            StreamedTexts([(shards, "train")], [0.0])
        with pytest.raises(UserError, match="mixture has 1 texts: at least 4"):
            next(StreamedTexts([(shards, "train"), (shards, "val")], [1, 1]).steps(32, 0))

    def test_selections_that_cannot_be(self, shards: ShardFolder) -> None:
        for selection, problem in {
            "trian": "has no part 'trian'; did you mean 'train'?",
            "train/easy": "has no 'easy' in train; none is known",
            "train[": "'train\\[' is no selection",
            "train[5:5]": "train\\[5:5\\] has no text",
        }.items():
            with pytest.raises(UserError, match=problem):
                StreamedTexts([(shards, selection)])

    def test_transforms_of_many_sizes(self, shards: ShardFolder) -> None:
        with pytest.raises(UserError, match="different shapes"):
            SampleLoader(StreamedTexts([(shards, "train")]), build_transform({"name": "pixelbert"}))


def test_few_shards_are_split_by_sample_with_a_warning(shards: ShardFolder, caplog: pytest.LogCaptureFixture) -> None:
    stream = StreamedTexts([(shards, "train[:7]")])
    with caplog.at_level(logging.WARNING, "mtlab"):
        found = texts(next(SampleLoader(stream, PLAIN, workers=2).steps(0, stream.texts[0])))
    assert "2 processes read 1 shards: shards are split by sample" in caplog.text
    assert sorted(found) == sorted(record.text for record in shards.records("train[:7]"))


def test_pairs_have_two_images(tmp_path: Path) -> None:
    import json

    from PIL import Image

    from mtlab.data.shards.writing.convert import convert

    (tmp_path / "raw/images").mkdir(parents=True)
    for split in ("train", "val", "test"):
        for at, colour in enumerate(((200, 0, 0), (0, 0, 200))):
            Image.new("RGB", (8, 8), colour).save(tmp_path / f"raw/images/{split}{at}.png")
        line = {"images": [f"{split}0.png", f"{split}1.png"], "statement": "left is red", "label": True}
        (tmp_path / f"raw/{split}.jsonl").write_text(json.dumps(line) + "\n")
    convert("jsonl", tmp_path / "raw", tmp_path / "out", {"kind": "pairs"})
    loaded = next(SampleLoader(StreamedTexts([(ShardFolder(tmp_path / "out"), "train")]), PLAIN).steps(0, 1))
    left, right = loaded.pixels
    assert loaded.records[0].label == 1
    assert left[0, 0].mean() > left[0, 2].mean()
    assert right[0, 0].mean() < right[0, 2].mean()
