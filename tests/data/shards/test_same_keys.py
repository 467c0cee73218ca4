"""Keys and members that collide, within a shard, a folder or a stream of several: told, or kept apart."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_shards import make_shards, write_raw

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS
from mtlab.data.batches import BatchOptions, Collator
from mtlab.data.datasets.benchmarks import Captions4M
from mtlab.data.shards.check import check_shards
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.data.shards.streaming.sample_loader import SampleLoader, StreamedTexts
from mtlab.data.shards.writing.convert import convert
from mtlab.data.transforms.base import build_transform
from mtlab.errors import UserError

PLAIN = build_transform({"name": "albef", "size": 8})
Member = tuple[str, bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_shards(tmp_path, 5, samples=3)


def rewrite(folder: Path, file: str, change: Callable[[list[Member]], Sequence[Member]]) -> None:
    """Write a shard anew with other members, and lines and index as a writer of such shards would have them."""
    path, rows = folder / f"{file}.tar", []
    with tarfile.open(path) as old:
        members = [(member.name, held.read()) for member in old if (held := old.extractfile(member)) is not None]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for name, data in change(members):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            start, at = new.offset, new.offset + 512
            new.addfile(about, io.BytesIO(data))
            key, _, kind = name.partition(".")
            if kind == "json":
                rows.append({"key": key, "offset": start, "images": [], **json.loads(data)})
            else:
                rows[-1]["images"].append([at, len(data)])
            rows[-1]["end"] = new.offset
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(buffer.getvalue())
    (folder / f"{file}.jsonl").write_bytes(lines)
    index = json.loads((folder / "index.json").read_text())
    (shard,) = (s for part in index["parts"].values() for s in part["shards"] if s["file"] == path.name)
    shard |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    shard |= {"rows_sha256": hashlib.sha256(lines).hexdigest(), "samples": len(rows)}
    texts = [len(row["texts"]) for row in rows]
    shard["per_text"] = {"": [sum(n > place for n in texts) for place in range(max(texts))]}
    (folder / "index.json").write_text(json.dumps(index))


def read_all(folder: Path) -> None:
    shards = ShardFolder(folder)
    loader = SampleLoader(StreamedTexts([(shards, part) for part in shards.index.parts]), PLAIN)
    next(loader.steps(0, len(loader)))


def test_shards_that_are_written_anew_as_they_were_are_sound(folder: Path) -> None:
    rewrite(folder, "train-000000", lambda members: members)
    read_all(folder)
    assert check_shards(ShardFolder(folder)).problems == []


def test_a_member_that_is_there_twice(folder: Path) -> None:
    rewrite(folder, "train-000000", lambda members: [members[0], members[1], members[1], *members[2:]])
    with pytest.raises(UserError, match=r"train-000000\.tar: is damaged \(.*duplicate file name"):
        read_all(folder)
    assert any("has 2 images, not 1" in problem for problem in check_shards(ShardFolder(folder)).problems)


def test_a_sample_with_two_types_of_image(folder: Path) -> None:
    def change(members: list[Member]) -> list[Member]:
        (name, data), (other, _) = members[1], members[3]
        assert name != other
        return [*members[:2], (f"{name.partition('.')[0]}.jpg", data), *members[2:]]

    rewrite(folder, "train-000000", change)
    with pytest.raises(UserError, match=r"train-000000\.tar: \S+ has 2 images, not 1"):
        read_all(folder)
    assert any("has 2 images, not 1" in problem for problem in check_shards(ShardFolder(folder)).problems)


@pytest.mark.parametrize("gap", [0, 1], ids=["one after the other", "apart"])
def test_a_sample_that_is_there_twice(folder: Path, gap: int) -> None:
    def change(members: list[Member]) -> list[Member]:
        return [*members[: 2 + 2 * gap], *members[:2], *members[2 + 2 * gap :]]

    rewrite(folder, "train-000000", change)
    problems = check_shards(ShardFolder(folder)).problems
    assert any(" twice" in problem for problem in problems)
    assert any("is taken" in problem for problem in problems)
    shards = ShardFolder(folder)
    with pytest.raises(UserError, match=r"calls an image picture.* that is another than in train-000000"):
        shards.image(next(shards.records("train")).images[0])


def test_a_key_that_is_another_image_in_another_part(folder: Path) -> None:
    with tarfile.open(folder / "train-000000.tar") as archive:
        key = archive.getnames()[0].partition(".")[0]
    rewrite(folder, "val-000000", lambda members: [(f"{key}.{n.partition('.')[2]}", data) for n, data in members])
    assert any(
        f"{key} is another image in train than in val" in each for each in check_shards(ShardFolder(folder)).problems
    )
    with pytest.raises(UserError, match=f"val-000000.tar: calls an image {key} that is another than in train-0"):
        ShardFolder(folder).image(key)


def test_an_image_in_two_parts_is_remarked_on_alone(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", 3)
    (raw / "val.jsonl").write_text((raw / "train.jsonl").read_text())
    convert("jsonl", raw, tmp_path / "shards", {"kind": "captions"})
    found = check_shards(ShardFolder(tmp_path / "shards"))
    assert found.problems == []
    assert any("3 images are in train and in val" in remark for remark in found.remarks)
    assert (
        ShardFolder(tmp_path / "shards").image(next(ShardFolder(tmp_path / "shards").records("val")).images[0]).ndim
        == 3
    )


def test_images_of_two_folders_that_are_called_alike_stay_apart(tmp_path: Path) -> None:
    """The key of an image does not say which folder it is from: the number of the source does."""
    folders = [ShardFolder(make_shards(tmp_path / str(seed), 4, seed=seed)) for seed in (1, 2)]
    loader = SampleLoader(StreamedTexts([(shards, "train") for shards in folders]), PLAIN)
    loaded = next(loader.steps(0, len(loader)))
    found = list(zip(loaded.sources, loaded.records, strict=True))
    assert sorted((at, record.id) for at, record in found) == sorted(
        (at, record.id) for at, shards in enumerate(folders) for record in shards.records("train")
    )
    for (at, record), pixels in zip(found, loaded.pixels[0], strict=True):
        image = torch.from_numpy(folders[at].image(record.images[0])).permute(2, 0, 1)
        assert torch.equal(pixels, PLAIN(image, torch.Generator()))
    keys = [{record.images[0] for record in shards.records("train")} for shards in folders]
    assert keys[0] == keys[1], "else nothing was tried"


@pytest.mark.parametrize("workers", [0, 2])
def test_training_says_which_folder_each_text_is_from(tmp_path: Path, workers: int) -> None:
    folders = [ShardFolder(make_shards(tmp_path / str(seed), 4, seed=seed, name=f"of{seed}-")) for seed in (1, 2)]
    loader = SampleLoader(StreamedTexts([(shards, "train") for shards in folders]), PLAIN, workers=workers)
    loaded = next(loader.steps(0, len(loader)))
    assert set(loaded.sources) == {0, 1}
    for record, source in zip(loaded.records, loaded.sources, strict=True):
        assert record.text.startswith(f"of{source + 1}-")


def test_two_cuts_of_a_part_are_read_each_by_itself(folder: Path) -> None:
    shards = ShardFolder(folder)
    stream = StreamedTexts([(shards, "train[:1]"), (shards, "train[:3]")])
    loader = SampleLoader(stream, PLAIN)
    loaded = next(loader.steps(0, len(loader)))
    for at, part in enumerate(("train[:1]", "train[:3]")):
        texts = [text.text for text, source in zip(loaded.records, loaded.sources, strict=True) if source == at]
        assert sorted(texts) == sorted(record.text for record in shards.records(part))


def test_training_takes_no_picture_for_that_of_another_folder(tmp_path: Path) -> None:
    """Contrast takes captions of one picture for right ones: keys alone do not say which picture it is."""
    folders = {name: make_shards(tmp_path / name, 4, seed=at) for at, name in enumerate(("coco", "vg"))}
    _, options = lookup_options(
        DATASETS, {"name": "captions4m", **{name: str(path) for name, path in folders.items()}}, ""
    )
    opened = {name: ShardFolder(path) for name, path in folders.items()}

    class Both(Captions4M):
        @classmethod
        def selections(cls, config: Any, opened: Mapping[str, ShardFolder]) -> Any:  # noqa: ARG003 - those opened
            return {"train": [(name, "train") for name in opened]}

    dataset = Both(options)
    loader = SampleLoader(dataset.stream("train"), PLAIN)
    words = SimpleNamespace(fetch=lambda texts: (torch.zeros(len(texts), 1), torch.ones(len(texts), 1)))
    training = StreamingLoader(loader, dataset, Collator(words, BatchOptions(image_ids=True)))
    ((batch,),) = islice(training.steps(0, len(loader), len(loader)), 1)
    pictures = {name: {record.images for record in shards.records("train")} for name, shards in opened.items()}
    assert pictures["coco"] == pictures["vg"], "else nothing was tried"
    assert batch.image_ids is not None
    assert len(set(batch.image_ids.tolist())) == 8
