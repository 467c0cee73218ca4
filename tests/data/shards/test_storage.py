"""Shards elsewhere: the same as in a folder; what stalls or disappears is told after a few attempts."""

import os
import shutil
import threading
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import fsspec
import pytest
from servers import Plain, Ranged, serving
from tiny_shards import make_shards

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.retries import RetryPolicy, UnreadableError
from mtlab.data.shards.storage import open_storage
from mtlab.data.shards.streaming.sample_loader import SampleLoader, StreamedTexts
from mtlab.data.transforms.base import build_transform
from mtlab.errors import UserError

PLAIN = build_transform({"name": "albef", "size": 8})
QUICK = RetryPolicy(timeout=0.3, attempts=3, delay=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"), 30)


def steps(shards: ShardFolder, count: int = 6, start: int = 0) -> list[list[str]]:
    loader = SampleLoader(StreamedTexts([(shards, "train")]), PLAIN)
    return [[record.text for record in loaded.records] for loaded in islice(loader.steps(0, 16, start), count)]


def test_a_folder_with_colons_in_its_name(folder: Path, tmp_path: Path) -> None:
    strange = tmp_path / "a::b"
    shutil.copytree(folder, strange)
    assert steps(ShardFolder(strange)) == steps(ShardFolder(folder))


@pytest.mark.parametrize("handler", [Plain, Ranged])
def test_a_web_server(folder: Path, handler: type[Plain]) -> None:
    here = ShardFolder(folder)
    with serving(folder, handler) as (address, asked):
        there = ShardFolder(address, retries=QUICK)
        assert there.digest == here.digest
        assert list(there.records("train")) == list(here.records("train"))
        assert steps(there) == steps(here)
        key = next(there.records("val")).images[0]
        assert there.image_bytes(key) == here.image_bytes(key)
        assert all("bytes=" in each for each in asked if ".tar" in each)


def test_without_ranges_a_file_is_gone_through_once(folder: Path) -> None:
    data = (folder / "train-000000.tar").read_bytes()
    cuts = [0, 700, 700, 5000, 5001, len(data)]
    with serving(folder, Plain) as (address, asked):
        place = open_storage(address, QUICK)
        for first, last in pairwise(cuts):
            assert place.read("train-000000.tar", first, last) == data[first:last]
        assert len(asked) == 1
        assert place.read("train-000000.tar", 512, 1024) == data[512:1024]  # back: from the start again
        assert len(asked) == 2
        with pytest.raises(UnreadableError, match="ends at byte"):
            place.read("train-000000.tar", 0, len(data) + 1)


def test_a_shard_that_comes_back_in_time_is_waited_for(folder: Path, tmp_path: Path) -> None:
    moving = tmp_path / "shards"
    shutil.copytree(folder, moving)
    for shard in moving.glob("train-*.tar"):
        os.rename(shard, f"{shard}.away")

    def bring_back() -> None:
        for shard in moving.glob("train-*.tar.away"):
            os.rename(shard, str(shard).removesuffix(".away"))

    timer = threading.Timer(0.2, bring_back)
    timer.start()
    assert steps(ShardFolder(moving, retries=RetryPolicy(attempts=12, delay=0.01))) == steps(ShardFolder(folder))
    timer.join()


def test_workers_open_streams_of_their_own(folder: Path) -> None:
    shards = ShardFolder(f"pipe:cat {folder}/{{}}", allow_pipe=True, retries=QUICK)
    stored = shards.index.parts["train"].shards[0]
    shards.read_range(stored, 0, 512)  # a command has begun to print here before workers are forked
    loader = SampleLoader(StreamedTexts([(shards, "train")]), PLAIN, workers=2)
    found = [[record.text for record in loaded.records] for loaded in islice(loader.steps(0, 16), 6)]
    assert found == steps(ShardFolder(folder))
    assert shards.read_range(stored, 512, 1024) == (folder / stored.file).read_bytes()[512:1024]


def test_a_command(folder: Path, tmp_path: Path) -> None:
    location = f"pipe:cat {folder}/{{}}"
    with pytest.raises(UserError, match="runs a command: allow it by --allow-pipe"):
        ShardFolder(location)
    there = ShardFolder(location, allow_pipe=True, retries=QUICK)
    assert steps(there) == steps(ShardFolder(folder))
    spaced = tmp_path / "a folder's"
    shutil.copytree(folder, spaced)
    assert ShardFolder(f'pipe:cat "{spaced}"/{{}}', allow_pipe=True).digest == there.digest


def test_names_that_are_no_place() -> None:
    for name, problem in {
        "s3://bucket/data": "Install s3fs to access S3",
        "nope://bucket/data": "shards are read from folders, .* other protocols of fsspec, or by pipe:COMMAND",
        "pipe:cat /data/train.tar": "write {} where the name of a file goes",
    }.items():
        with pytest.raises(UserError, match=problem):
            open_storage(name, allow_pipe=True)
    with pytest.raises(UserError, match="nowhere: no such folder of shards"):
        ShardFolder("/nowhere")


def test_a_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no index\.json"):
        ShardFolder(tmp_path)
    with serving(tmp_path) as (address, _), pytest.raises(UserError, match=r"holds no index\.json"):
        ShardFolder(address, retries=QUICK)


def test_what_fails_once_is_asked_for_again(folder: Path) -> None:
    failed: set[str] = set()

    def fail(handler: Any) -> bool:
        what = f"{handler.path} {handler.headers.get('Range')}"
        if what in failed:
            return False
        failed.add(what)
        number = len(failed) % 3
        if number == 0:
            handler.send_error(503)
        elif number == 1:  # breaks off in the middle
            handler.send_response(206)
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            handler.wfile.write(b"half")
            handler.wfile.flush()
            handler.connection.close()
        return number != 2

    with serving(folder, Ranged, fail) as (address, _):
        assert steps(ShardFolder(address, retries=QUICK)) == steps(ShardFolder(folder))


def test_a_server_that_stalls(folder: Path) -> None:
    never = threading.Event()

    def fail(handler: Any) -> bool:
        return ".tar" in handler.path and never.wait(20) is not None

    with serving(folder, Ranged, fail) as (address, asked):
        there = ShardFolder(address, retries=QUICK)
        with pytest.raises(
            UnreadableError, match=r"train-00000\d\.tar: cannot be read, 3 times: nothing came for 0.3 seconds"
        ) as caught:
            steps(there)
        never.set()
    assert "\n" not in str(caught.value)
    assert sum(".tar" in each for each in asked) == 3


def test_a_stream_that_stalls_in_the_middle(folder: Path) -> None:
    never = threading.Event()

    def fail(handler: Any) -> bool:
        if ".tar" not in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(b"0" * 100)
        handler.wfile.flush()
        never.wait(20)
        return True

    with serving(folder, Plain, fail) as (address, _):
        with pytest.raises(UnreadableError, match="cannot be read, 3 times"):
            steps(ShardFolder(address, retries=QUICK))
        never.set()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_disappears_in_training_and_comes_back(folder: Path, tmp_path: Path, workers: int) -> None:
    """What was made is right, the error is one line, and training goes on from the next step."""
    moving = tmp_path / "shards"
    shutil.copytree(folder, moving)
    wanted = steps(ShardFolder(folder), 8)
    loader = SampleLoader(StreamedTexts([(ShardFolder(moving, retries=QUICK), "train")]), PLAIN, workers=workers)
    batches = loader.steps(0, 16)
    seen = [[record.text for record in next(batches).records]]
    for shard in moving.glob("train-*.tar"):
        os.rename(shard, f"{shard}.away")
    with pytest.raises(UserError, match=r"train-00000\d\.tar: is missing") as caught:
        seen += [[record.text for record in loaded.records] for loaded in batches]
    assert "\n" not in str(caught.value)
    assert seen == wanted[: len(seen)]
    for shard in moving.glob("train-*.tar.away"):
        os.rename(shard, str(shard).removesuffix(".away"))
    assert seen + steps(ShardFolder(moving), 8 - len(seen), len(seen)) == wanted


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("cat {folder}/{{}} | head -c 700; sleep 20", "nothing came for 0.3 seconds"),
        ("cat {folder}/{{}} | head -c 700", "ends at byte"),
        ("cat {folder}/{{}} | head -c 700; exec >&-; sleep 20", "closed its output and does not end"),
        (
            "case {{}} in *.tar) echo no access >&2; exit 3;; *) cat {folder}/{{}};; esac",
            "ended with code 3: no access",
        ),
    ],
)
def test_a_command_that_fails(folder: Path, command: str, problem: str) -> None:
    written = command.format(folder=folder)
    if "case" not in written:  # let it fail for shards alone
        written = f"case {{}} in *.tar) {written};; *) cat {folder}/{{}};; esac"
    with pytest.raises(UnreadableError, match=problem):
        steps(ShardFolder(f"pipe:{written}", allow_pipe=True, retries=QUICK))


def test_object_storage_through_fsspec(folder: Path) -> None:
    """fsspec's file system in memory stands for the others, which need accounts."""
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/data", recursive=True)
    here, there = ShardFolder(folder), ShardFolder("memory://bucket/data", retries=QUICK)
    assert there.digest == here.digest
    assert steps(there) == steps(here)
    key = next(there.records("val")).images[0]
    assert there.image_bytes(key) == here.image_bytes(key)
    shard = there.index.parts["train"].shards[0]
    with pytest.raises(UserError, match="it is cut off"):
        there.read_range(shard, 0, shard.bytes + 1)
    memory.rm("/bucket/data", recursive=True)
    with pytest.raises(UserError, match="is missing"):
        there.read_range(shard, 0, 512)
    with pytest.raises(UserError, match=r"holds no index\.json"):
        ShardFolder("memory://bucket/data")


class Broken(fsspec.AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """A client whose reads fail with an exception of its own."""

    protocol = "broken"

    def cat_file(self, *_: Any, **__: Any) -> bytes:
        raise RuntimeError("no credentials")


def test_a_client_that_fails_in_its_own_way() -> None:
    fsspec.register_implementation("broken", Broken, clobber=True)
    with pytest.raises(UnreadableError, match="cannot be read, 3 times: RuntimeError: no credentials"):
        ShardFolder("broken://bucket/data", retries=QUICK)
