"""Whatever is wrong with shards is told in one line by who reads them, and by `check`; nothing is unpickled."""

import hashlib
import io
import json
import pickle
import re
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset
from tiny_shards import make_shards

from mtlab.data.shards.check import check_shards
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.retries import RetryPolicy
from mtlab.data.shards.samples import member_problem
from mtlab.data.shards.streaming.sample_loader import SampleLoader, StreamedTexts
from mtlab.data.transforms.base import build_transform
from mtlab.errors import UserError

SHARD = "train-000000.tar"
PLAIN = build_transform({"name": "albef", "size": 8})
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), 12)


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def read_all(folder: Path) -> None:
    shards = ShardFolder(folder, retries=RetryPolicy(attempts=2, delay=0.01))
    loader = SampleLoader(StreamedTexts([(shards, part) for part in shards.index.parts]), PLAIN)
    next(loader.steps(0, len(loader)))


def test_sound_shards(folder: Path) -> None:
    read_all(folder)
    found = check_shards(ShardFolder(folder))
    assert found.problems == []
    assert found.samples == found.images == 14


def test_webdataset_reads_them(folder: Path) -> None:
    shards = ShardFolder(folder)
    urls = [str(folder / shard.file) for shard in shards.index.parts["train"].shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    assert [sample["json"]["texts"][0]["text"] for sample in samples] == [
        record.text for record in shards.records("train") if record.id.endswith("#0")
    ]
    assert all(sample["png"].size >= (9, 9) for sample in samples)


def rewritten(folder: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """Change a shard's first member, and let the index believe that it was always so."""
    path = folder / SHARD
    buffer = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for at, member in enumerate(old):
            held = old.extractfile(member)
            assert held is not None
            changed = change(member, held.read()) if at == 0 else (member, held.read())
            if changed is not None:
                new.addfile(changed[0], io.BytesIO(changed[1]))
    data = buffer.getvalue()
    path.write_bytes(data)
    index = folder / "index.json"
    about = json.loads(index.read_text())
    shard = about["parts"]["train"]["shards"][0]
    shard |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    index.write_text(json.dumps(about))


def renamed(name: str) -> Damage:
    def damage(folder: Path) -> None:
        def change(member: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
            member.name = name
            return member, data

        rewritten(folder, change)

    return damage


def cut(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data[: len(data) // 2])


def flipped(folder: Path) -> None:
    data = bytearray((folder / SHARD).read_bytes())
    at = data.index(b"IDAT") + 6
    data[at] ^= 255
    (folder / SHARD).write_bytes(data)


def swapped(folder: Path) -> None:
    first, second = folder / SHARD, folder / "train-000001.tar"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def linked(folder: Path) -> None:
    def change(member: tarfile.TarInfo, _: bytes) -> tuple[tarfile.TarInfo, bytes]:
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
        return member, b""

    rewritten(folder, change)


def no_answers(folder: Path) -> None:
    index = folder / "index.json"
    about = json.loads(index.read_text())
    about |= {"answers": 2, "answers_sha256": "0" * 64}
    index.write_text(json.dumps(about))


def lines_changed(folder: Path) -> None:
    path = folder / "train-000000.jsonl"
    path.write_text(path.read_text().replace("picture", "pictura", 1))


DAMAGED: dict[str, tuple[Damage, str, str]] = {
    "cut off": (cut, "is cut off", "is cut off"),
    "one bit": (flipped, "cannot be decoded", "cannot be decoded"),
    "swapped": (swapped, "is damaged|has something else|is cut off|is not where", "is not where|cut off"),
    "gone": (lambda folder: (folder / SHARD).unlink(), "is missing", "is missing"),
    "lines gone": (lambda folder: (folder / "train-000000.jsonl").unlink(), "is missing", "is missing"),
    "lines changed": (lines_changed, "is not the file that the index", "is not the file that the index"),
    "parent": (renamed("../../etc/x.json"), r"member '../../etc/x.json' leads out", "leads out of the shard"),
    "absolute": (renamed("/etc/x.json"), r"member '/?etc/x.json'", r"member '/?etc/x.json'"),
    "pickle": (renamed("a.pyd"), "'a.pyd' is of type 'pyd', which is not read", "of type 'pyd', which is not read"),
    "link": (linked, "is damaged|something else", "is no plain file"),
    "answers": (no_answers, "", "answers.json: is missing"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told_in_one_line(folder: Path, name: str) -> None:
    damage, in_reading, in_checking = DAMAGED[name]
    damage(folder)
    if in_reading:
        with pytest.raises(UserError, match=in_reading) as caught:
            read_all(folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)
    problems = check_shards(ShardFolder(folder, retries=RetryPolicy(attempts=1))).problems
    assert problems
    assert any(re.search(in_checking, each) for each in problems)


def test_nothing_is_unpickled(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> object:
            return (mark.touch, ())

    def change(member: tarfile.TarInfo, _: bytes) -> tuple[tarfile.TarInfo, bytes]:
        data = pickle.dumps(Evil())
        member.name, member.size = f"{member.name.partition('.')[0]}.pickle", len(data)
        return member, data

    rewritten(folder, change)
    with pytest.raises(UserError, match="is of type 'pickle'"):
        read_all(folder)
    assert not mark.exists()


def test_a_decompression_bomb(folder: Path) -> None:
    """The header of a picture of 81 megapixels, put into a shard by hand."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    shards = ShardFolder(folder)
    offset, _ = shards.rows(shards.index.parts["train"].shards[0])[0].images[0]
    data = bytearray((folder / SHARD).read_bytes())
    data[offset : offset + len(bomb)] = bomb
    (folder / SHARD).write_bytes(data)
    told = "has 9000 × 9000 pixels: 67,108,864 are allowed"
    with pytest.raises(UserError, match=told):
        read_all(folder)
    assert any(told in problem for problem in check_shards(shards).problems)


@pytest.mark.parametrize(
    ("name", "fine"),
    [
        ("a-b_1.json", True),
        ("a.0.jpg", True),
        ("a.1.png", True),
        ("a.2.png", False),
        ("a.jpg", True),
        ("a", False),
        (".json", False),
        ("a.JPG", False),
        ("a b.jpg", False),
        ("a/b.jpg", False),
        ("../a.jpg", False),
        ("a.npy", False),
        ("a.pth", False),
        ("a.cls", False),
        ("a.json.gz", False),
        ("a\\b.jpg", False),
    ],
)
def test_names_of_members(name: str, fine: bool) -> None:
    assert (member_problem(name) is None) is fine


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is no index of shards"),
        ("[]", "is no index of shards"),
        ('{"format": 99}', "has format 99, this version of mtlab reads 1"),
        ('{"format": 1}', "is damaged or was changed by hand"),
    ],
)
def test_an_index_that_is_none(folder: Path, content: str, problem: str) -> None:
    (folder / "index.json").write_text(content)
    with pytest.raises(UserError, match=problem):
        ShardFolder(folder)


def test_an_index_cannot_name_files_elsewhere(folder: Path) -> None:
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text.replace(SHARD, "../train-000000.tar"))
    with pytest.raises(UserError, match="is damaged or was changed by hand"):
        ShardFolder(folder)
