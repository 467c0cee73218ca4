"""Training on shards with a tower that reads images in every step: streamed, augmented, gone on with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import toys  # noqa: F401 - registers the data sets
from raw_trees import raw
from tiny_runs import RunMaker, outcome, stopped_at, tiny_config

from mtlab.data.batches import Batch, Loader
from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.data.shards.writing.convert import convert
from mtlab.distributed.ranks import SINGLE_RANK, Ranks
from mtlab.errors import UserError
from mtlab.resolution.identity import cell_identity
from mtlab.resolution.resolve import resolve
from mtlab.training import loop
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.worker import train

NAMES = {"vqav2": "question_answering", "nlvr2": "reasoning", "flickr30k": "retrieval"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shards")
    for name in NAMES:
        convert(name, raw(name), root / name, {"min_count": 1} if name == "vqav2" else {}, samples=2)
    return {name: root / name for name in NAMES}


def sections(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "manager": {"name": "static", "noise": 1.0},
        "text": {"name": "tiny_text", "depth": 2, "width": 16, "heads": 2},
        "vision": {
            "name": "tiny_vision",
            "depth": 2,
            "width": 16,
            "heads": 2,
            "image_size": 16,
            "patch": 8,
            "trainable": True,
        },
        "model": {"width": 16, "heads": 2, "cross_layers": 1, "mlp_ratio": 1, "dropout": 0.1},
        "train": {"length": {"steps": 10}, "batch": 4, "eval_every": 5, "checkpoint_every": 100},
        "metrics": {"choose": "val/primary"},
        "task": {"name": NAMES[name]},
        "data": {"name": name, "folder": str(folder)},
    }
    for key, given in more.items():
        settings[key] = {**settings.get(key, {}), **given}
    return settings


def steps(run: AssembledRun, count: int, start: int = 0, micro: int = 4) -> list[Batch]:
    batches = run.training.steps(0, 4, micro, start)
    return [batch for _ in range(count) for batch in next(batches)]


def pixels(batches: list[Batch]) -> list[torch.Tensor]:
    return [batch.image[0] for batch in batches if isinstance(batch.image, tuple)]


@pytest.mark.parametrize("name", NAMES)
def test_it_streams_and_goes_on_in_mid_epoch_as_if_nothing_had_happened(
    name: str, shards: dict[str, Path], make_run: RunMaker
) -> None:
    settings = sections(name, shards[name], train={"augment": "albef_randaug"})
    assert isinstance(assemble(tiny_config(**settings), 0).training, StreamingLoader)
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    assert train(whole) == 0
    assert stopped_at(broken, 3) == 143
    assert train(broken) == 0
    assert outcome(broken) == outcome(whole)
    metrics = json.loads((whole / "result.json").read_text())["metrics"]
    assert "test/primary" in metrics


@pytest.mark.slow  # it waits for the shard to come back
def test_a_shard_that_is_gone_stops_training_and_nothing_is_lost(
    shards: dict[str, Path],
    make_run: RunMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(shards["flickr30k"], tmp_path / "shards"))
    lost = sorted(folder.glob("train-*.tar"))
    settings = sections("flickr30k", folder, train={"checkpoint_every": 2})
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    assert train(whole) == 0
    real = loop.train_step
    reached: list[int] = []

    def stepping(*args: Any, **kwargs: Any) -> torch.Tensor:
        reached.append(kwargs["step"])
        if kwargs["step"] == 5:
            for path in lost:
                path.rename(path.with_suffix(".away"))
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", stepping)
    assert train(broken) == 2
    assert "train-" in (told := capsys.readouterr().err)
    assert "is missing" in told
    assert "Traceback" not in told
    for path in lost:
        path.with_suffix(".away").rename(path)
    monkeypatch.setattr(
        loop, "train_step", lambda *args, **kwargs: reached.append(kwargs["step"]) or real(*args, **kwargs)
    )
    before = len(reached)
    assert train(broken) == 0
    assert reached[before] in (4, 5, 6), "it goes on from the last checkpoint, not from the start"
    assert outcome(broken) == outcome(whole)


def test_workers_and_micro_batches_change_nothing(shards: dict[str, Path]) -> None:
    one, two = (
        assemble(tiny_config(**sections("nlvr2", shards["nlvr2"], train={"num_workers": workers})), 0)
        for workers in (0, 2)
    )
    first, second = steps(one, 3), steps(two, 3)
    for own, other in zip(first, second, strict=True):
        assert own.targets.tolist() == other.targets.tolist()
        assert torch.equal(*pixels([own, other]))
    halves = steps(one, 3, micro=2)
    assert [t for half in halves for t in half.targets.tolist()] == [t for b in first for t in b.targets.tolist()]
    assert len(pixels(halves)[0]) == 4, "two pictures of each of two texts"


@pytest.mark.parametrize("objectives", [["mlm"], ["mlm", "itm", "itc"]])
def test_several_processes_share_what_one_streams(objectives: list[str], shards: dict[str, Path]) -> None:
    given = sections("flickr30k", shards["flickr30k"], train={"augment": "albef_randaug", "micro_batch": 4})
    given["task"] = {"name": "pretraining", "objectives": objectives, "contrastive_width": 8}
    run = assemble(tiny_config(**given), 0)
    stream = run.training
    assert isinstance(stream, StreamingLoader)
    streams = [stream.steps(0, 4, 4, 1, ranks) for ranks in (SINGLE_RANK, Ranks(0, 2), Ranks(1, 2))]
    for _ in range(3):
        alone, *parts = (next(each)[0] for each in streams)
        for rank, part in enumerate(parts):
            own = slice(rank, None, 2)
            assert part.rows == alone.rows[own]
            assert torch.equal(pixels([part])[0], pixels([alone])[0][own])
            assert part.masked is not None
            assert alone.masked is not None
            hidden, length = alone.masked.inputs[0][own], part.masked.inputs[0].shape[1]
            assert torch.equal(part.masked.inputs[0], hidden[:, :length])
            if "itm" in objectives:
                assert part.image_ids is not None
                assert alone.image_ids is not None
                assert torch.equal(part.image_ids, alone.image_ids[own])
                assert torch.equal(shown(part), shown(alone)[own])


def shown(batch: Batch) -> torch.Tensor:
    """Give the picture that goes with each text, be it its own or not."""
    assert batch.matching is not None
    assert isinstance(batch.image, tuple)
    assert batch.matching.negatives is None or isinstance(batch.matching.negatives, tuple)
    return torch.cat([batch.image[0], *(batch.matching.negatives or ())])[batch.matching.image_index]


def test_unaugmented_pixels_are_those_of_the_tower(shards: dict[str, Path]) -> None:
    run = assemble(tiny_config(**sections("flickr30k", shards["flickr30k"])), 0)
    (batch,) = steps(run, 1)
    whole = run.loader("train")
    assert isinstance(run.training, StreamingLoader)
    loaded = next(run.training.samples.steps(0, 4))
    by_id = {example.id.rpartition("/")[2]: example for example in whole.examples}
    keys = [by_id[record.id].image for record in loaded.records]
    plain = whole.image.fetch(keys)
    assert isinstance(plain, tuple)
    torch.testing.assert_close(pixels([batch])[0], plain[0], rtol=0, atol=0)
    assert batch.image_ids is not None
    assert [keys[a] == keys[b] for a in range(4) for b in range(4)] == (
        batch.image_ids[:, None] == batch.image_ids[None]
    ).flatten().tolist()


def test_frozen_towers_are_cached_and_nothing_is_streamed(shards: dict[str, Path]) -> None:
    frozen = assemble(tiny_config(**sections("flickr30k", shards["flickr30k"], vision={"trainable": False})), 0)
    assert isinstance(frozen.training, Loader)
    assert not frozen.model.towers


TOY = {"task": {"name": "retrieval", "contrastive_width": 8}, "data": {"name": "toy_captions"}}


def toy(**train_settings: Any) -> dict[str, Any]:
    settings = sections("flickr30k", Path("unused"), train=train_settings)
    return {**settings, **TOY}


def test_images_elsewhere_are_augmented_too_each_time_otherwise_and_the_same_for_one_seed() -> None:
    plain, changed = (
        assemble(tiny_config(**toy(**given)), 0) for given in ({}, {"augment": {"name": "albef_randaug", "level": 9}})
    )
    own, other, again = (pixels(steps(run, 8)) for run in (plain, changed, changed))
    assert all(torch.equal(a, b) for a, b in zip(other, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    whole, halves = pixels(steps(changed, 1))[0], pixels(steps(changed, 1, micro=2))
    assert torch.equal(whole, torch.cat(halves))
    assert torch.equal(pixels(steps(changed, 1, start=5))[0], other[5])
    evaluated = changed.loader("val").batch([0, 1]).image
    assert isinstance(evaluated, tuple)
    assert torch.equal(evaluated[0], plain.loader("val").batch([0, 1]).image[0]), "images are evaluated as they are"


def test_an_augmentation_is_part_of_the_id_with_all_of_its_options() -> None:
    def cell(**settings: Any) -> str:
        return cell_identity(resolve(toy(length={"steps": 10}, **settings))).cell

    assert cell(augment="albef_randaug") == cell(augment={"name": "albef_randaug", "level": 7, "draws": 2})
    assert cell(augment="albef_randaug") != cell(augment={"name": "albef_randaug", "level": 5}) != cell()
    assert cell() == cell(augment=None) == cell(num_workers=3)
    hashed = cell_identity(resolve(toy(augment="albef_randaug"))).hashed
    assert "transform:albef_randaug" in hashed["versions"]
    assert cell_identity(resolve(toy())).hashed["config"]["train"]["augment"] is None


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        ({"name": "layered"}, True),
        ({"name": "shapes"}, True),
        ({"name": "shapes", "families": ["colour", "count"]}, False),
        ({"name": "shapes_captions"}, True),
        ({"name": "shapes_captions", "kinds": ["list"]}, False),
    ],
)
def test_worlds_that_tell_left_from_right_are_not_mirrored(data: dict[str, Any], refused: bool) -> None:
    """The words would stay, and be wrong."""
    vision = {"name": "tiny_vision", "depth": 2, "width": 16, "trainable": True}
    given = {"data": data, "vision": vision, "text": {"name": "tiny_text", "depth": 2, "width": 16}}
    if data["name"] == "shapes_captions":
        given |= {"task": "retrieval", "metrics": {"choose": "val/recall"}}
    assert resolve({**given, "train": {"augment": "albef_randaug_wohf"}})
    if not refused:
        assert resolve({**given, "train": {"augment": "albef_randaug"}})
        return
    with pytest.raises(UserError, match=f"train.augment: mirrors one image in two, and {data['name']} tells left"):
        resolve({**given, "train": {"augment": "albef_randaug"}})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"train": {"augment": "albef_randaugg"}}, r"train.augment.name: .*did you mean 'albef_randaug"),
        ({"train": {"augment": {"name": "albef_randaug", "size": 64}}}, "train.augment.size: is the vision tower's"),
        ({"train": {"augment": {"name": "albef_randaug", "level": 99}}}, "train.augment.level: 99 is out of range"),
        ({"train": {"augment": "vit_randaug"}}, "train.augment: say 'clip_randaug': 'vit_randaug' differs from it in"),
        ({"train": {"augment": "pixelbert_randaug"}}, "train.augment: .* gives images of different shapes"),
        (
            {"train": {"augment": "albef_randaug"}, "vision": {"trainable": False}},
            "train.augment: the vision tower's levels are cached",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(given: dict[str, Any], told: str) -> None:
    settings = {**sections("flickr30k", Path("unused"), **given), **TOY}
    with pytest.raises(UserError, match=told):
        resolve(settings)
