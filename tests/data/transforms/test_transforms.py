"""Every published transform against the authors' own, on their picture: within one grey level.

The golden pictures were made with cv2 5.0.0, Pillow 13.0.0 and torchvision 0.28.0.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mtlab.data.transforms import operations as op
from mtlab.data.transforms.base import TRANSFORMS, build_transform
from mtlab.data.transforms.geometry import random_crop
from mtlab.data.transforms.policies import array_policy, pil_policy
from mtlab.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden"
STORED = load_file(GOLDEN / "transforms.safetensors")
IMAGE = STORED["image"].permute(2, 0, 1).contiguous()
ARRAY = [name.removeprefix("randaugment/") for name in STORED if name.startswith("randaugment/")]
PIL = [name.removeprefix("randaug/") for name in STORED if name.startswith("randaug/")]


def difference(found: Tensor, name: str) -> Tensor:
    return (found.int() - STORED[name].permute(2, 0, 1).int()).abs()


@pytest.mark.parametrize("name", [name for name in ARRAY if name != "Sharpness@7pos"])
def test_operations_on_arrays(name: str) -> None:
    operation, _, level = name.partition("@")
    ways = array_policy(int(level[0]), 2, colours=True).pool[operation]
    # theirs takes minus the amount for "pos" in translations, as it names where the image comes from
    backwards = level.endswith("neg") != operation.startswith("Translate")
    found = ways[backwards if len(ways) > 1 else 0](IMAGE)
    assert difference(found, f"randaugment/{name}").max() <= 1


@pytest.mark.parametrize("name", PIL)
def test_operations_on_pil_images(name: str) -> None:
    operation = name.partition("@")[0]
    ways = pil_policy(9, 2).pool[operation]
    backwards = operation.startswith(("Shear", "Translate"))  # they name where the image comes from
    assert difference(ways[backwards](IMAGE), f"randaug/{name}").max() <= 1


def test_sharpness_on_arrays_is_clipped_where_theirs_wraps_around() -> None:
    theirs = STORED["randaugment/Sharpness@7pos"].permute(2, 0, 1).int()
    ours = array_policy(7, 2, colours=False).pool["Sharpness"][0](IMAGE).int()
    far = (ours - theirs).abs() > 1
    assert 0 < far.float().mean() < 0.01
    assert set(ours[far].tolist()) <= {0, 255}
    wrapped = torch.where(ours == 255, theirs + 256, theirs - 256)[far]  # what they would be without wrapping
    assert bool(((wrapped < 0) | (wrapped > 255)).all())


def test_solarize_at_its_highest_level_changes_nothing() -> None:
    (solarize,) = op.ARRAY_COLOUR_OPERATIONS["Solarize"].at(1.0)
    assert torch.equal(solarize(IMAGE), IMAGE)


def test_solarize_add_brightens_the_darker_half() -> None:
    found = pil_policy(9, 2).pool["SolarizeAdd"][0](IMAGE)
    assert torch.equal(found[IMAGE >= 128], IMAGE[IMAGE >= 128])
    assert torch.equal(found[IMAGE < 128].int(), IMAGE[IMAGE < 128].int() + 33)


@pytest.mark.parametrize("name", [name.removeprefix("transform/") for name in STORED if name.startswith("transform/")])
def test_pipelines_without_randomness(name: str) -> None:
    transform = build_transform({"name": name.partition("@")[0], "size": int(name.partition("@")[2])})
    grey_level = 1 / 255 / min(transform.moments[1])
    assert (transform(IMAGE) - STORED[f"transform/{name}"]).abs().max() <= grey_level + 1e-5


NAMES = {
    *("clip", "imagenet", "vit", "albef", "pixelbert"),
    *(f"{base}_randaug" for base in ("clip", "imagenet", "vit", "pixelbert")),
    *(f"{base}_randaug{end}" for base in ("albef", "blip") for end in ("", "_wc", "_wohf", "_pretrain")),
}


def test_all_published_names_are_there() -> None:
    assert {entry.name for entry in TRANSFORMS} == NAMES
    with pytest.raises(UserError, match="did you mean 'albef_randaug_wohf'"):
        build_transform({"name": "albef_randaug_wohfl"})
    with pytest.raises(UserError, match=r"transform\.level: 11 is out of range"):
        build_transform({"name": "albef_randaug", "level": 11})


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("shape", [(28, 40), (200, 33), (1, 1)])
def test_any_image_gets_the_shape_that_was_asked_for(name: str, shape: tuple[int, int]) -> None:
    transform = build_transform({"name": name, "size": 32})
    image = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    before = image.clone()
    for seed in range(20 if transform.random else 1):
        found = transform(image, torch.Generator().manual_seed(seed))
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())
        assert found.shape[-2:] == (32, 32) if transform.square else all(side % 32 == 0 for side in found.shape[-2:])
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_randomness_comes_from_the_generator_alone(name: str) -> None:
    transform = build_transform({"name": name, "size": 32})
    state = torch.get_rng_state()
    found = [transform(IMAGE, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0], found[1])
    assert any(not torch.equal(found[0], other) for other in found[2:]) == transform.random


def test_what_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = array_policy(7, 2, colours=False)
    seen: Counter[str] = Counter()
    for name, ways in policy.pool.items():
        counted = [lambda image, name=name: (seen.update([name]), image)[1] for _ in ways]
        object.__setattr__(policy, "pool", {**policy.pool, name: tuple(counted)})
    for _ in range(5000):
        policy(IMAGE, generator)
    assert len(seen) == 10
    assert all(abs(count - 500) < 100 for count in seen.values())  # 10,000 draws of 10, applied one time in two


def test_random_crops_cover_what_they_should() -> None:
    image = torch.arange(60 * 90).view(1, 60, 90).expand(3, -1, -1) % 251
    generator = torch.Generator().manual_seed(0)
    found = [random_crop(image.to(torch.uint8), 8, (0.5, 1.0), generator) for _ in range(50)]
    assert all(each.shape == (3, 8, 8) for each in found)
    assert len({tuple(each.flatten().tolist()) for each in found}) > 45


def test_the_two_families_differ_in_their_greys() -> None:
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 200
    assert op.colour(red, 0.0)[0, 0, 0] == 59  # 0.299 · 200
    assert op.colour(red, 0.0, op.BLUE_GREEN_RED)[0, 0, 0] == 22  # 0.114 · 200


def measured(family: str, name: str) -> list[Tensor]:
    """The differences of an operation in every direction and at every level that is stored."""
    found = []
    for stored in ARRAY if family == "array" else PIL:
        operation, _, level = stored.partition("@")
        if operation.removesuffix("abs") != name:
            continue
        policy = array_policy(int(level[0]), 2, colours=True) if family == "array" else pil_policy(9, 2)
        ways = policy.pool[operation]
        backwards = operation.startswith("Translate") or (family == "pil" and operation.startswith("Shear"))
        image = ways[(backwards != level.endswith("neg")) if len(ways) > 1 else 0](IMAGE)
        found.append(difference(image, f"{'randaugment' if family == 'array' else 'randaug'}/{stored}"))
    return found


def test_the_table_in_the_docs_is_what_is_measured() -> None:
    page = (Path(__file__).parents[3] / "docs/transforms.md").read_text()
    rows = re.findall(r"^\| ([A-Z][A-Za-z, ]+) \| (.*?) \| (.*?) % \| (\d+) \| (.*?) % \|$", page, re.MULTILINE)
    assert len(rows) == 7
    for names, array_most, array_share, pil_most, pil_share in rows:
        for family, most, share in (("array", array_most, array_share), ("pil", pil_most, pil_share)):
            found = torch.stack([each for name in names.split(", ") for each in measured(family, name)])
            if most.isdigit():
                assert int(found.max()) == int(most), (names, family)
            assert round(100 * float((found > 0).float().mean()), 1) == pytest.approx(float(share)), (names, family)
    pipelines = []
    for name in (name.removeprefix("transform/") for name in STORED if name.startswith("transform/")):
        transform = build_transform({"name": name.partition("@")[0], "size": int(name.partition("@")[2])})
        scale = torch.tensor(transform.moments[1]).view(3, 1, 1) * 255
        pipelines.append(((transform(IMAGE) - STORED[f"transform/{name}"]) * scale).abs().round().flatten())
    differences = torch.cat(pipelines)
    (told,) = re.findall(r"`pixelbert` \| (\d+) \| (.*?) % \|", page)
    assert (int(differences.max()), round(100 * float((differences > 0).float().mean()), 1)) == (
        int(told[0]),
        float(told[1]),
    )
