"""With the published weights our models give the published tensors: in the committed bundles, and in all others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import ROOTS, folders
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.interop.bundle import read_bundle, rebuild
from mtlab.interop.reference_outputs import GROUPS
from mtlab.interop.verification import verify

COMMITTED = ["bt", "extra_meter_fusion", "mt_saue_scalar", "mt_aaue_vector", "hf_bridgetower_add"]
ELSEWHERE = sorted(set(folders()) - set(COMMITTED))
SMALL = "hf_bridgetower_add"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["mtlab", "verify", *map(str, arguments)])
    return main()


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_bundles_agree(name: str) -> None:
    found = verify(ROOTS[0] / name)
    assert not [(quantity.name, quantity.largest) for quantity in found.quantities if not quantity.ok]
    assert found.not_compared == (), "every output is compared"
    groups = {quantity.group for quantity in found.quantities}
    assert groups >= set(GROUPS) - {"weights", "noise", "grads"}
    assert not name.startswith("mt_") or groups == set(GROUPS)


@pytest.mark.slow
@pytest.mark.skipif(not ELSEWHERE, reason="MTLAB_GOLDEN names no folder of more bundles")
@pytest.mark.parametrize("name", ELSEWHERE or [""])
def test_bundles_elsewhere_agree(name: str) -> None:
    found = verify(folders()[name])
    assert not [(quantity.name, quantity.largest) for quantity in found.quantities if not quantity.ok]
    assert found.not_compared == ()


def test_the_noise_has_the_published_deviation() -> None:
    bundle = read_bundle(ROOTS[0] / "mt_aaue_vector")
    with rebuild(bundle) as ours:
        managers = ours.model("pretraining").encoder.managers()
        found = {f"{modality}.{depth}": manager.noise_scale for (modality, depth), manager in managers}
    assert found == pytest.approx(bundle.config["noise_std"])


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOTS[0] / SMALL, tmp_path / "bundle"))


def rewritten(file: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize("bundles", [[SMALL], [SMALL, "mt_saue_scalar"]])
def test_tables_hold_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundles: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert command(monkeypatch, *(ROOTS[0] / name for name in bundles)) == 0
    shown = capsys.readouterr().out
    assert "e-" in shown
    assert "[green]" not in shown
    assert "[dim]" not in shown


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = ROOTS[0] / SMALL, copied(tmp_path)
    rewritten(wrong / "io.safetensors", lambda io: io["out/pooler_output"].add_(2e-5))
    assert command(monkeypatch, right) == 0
    assert "1 of 1 bundles agree" in capsys.readouterr().out
    assert command(monkeypatch, right, wrong) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "✗ bundle: out/pooler_output 2." in shown
    assert "1 of 2 bundles agree" in shown
    assert command(monkeypatch, "--json", wrong) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["ok"], data["bundles"][0]["family"]) == (False, "bridgetower")
    bad = [quantity["name"] for quantity in data["bundles"][0]["quantities"] if not quantity["ok"]]
    assert bad == ["out/pooler_output"]
    assert command(monkeypatch, "--markdown", right) == 0
    assert capsys.readouterr().out.rstrip().endswith("| agrees |")
    assert command(monkeypatch, "--markdown", "--json", right) == 2


def test_what_is_no_number_disagrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path)
    rewritten(folder / "io.safetensors", lambda io: io["out/text_features"].fill_(torch.nan))
    assert not verify(folder).ok
    assert command(monkeypatch, "--json", folder) == 1
    quantities = json.loads(capsys.readouterr().out)["bundles"][0]["quantities"]
    assert [quantity["name"] for quantity in quantities if quantity["largest"] is None] == ["out/text_features"]


def reconfigured(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda config: config.update(vqa_score_metric="high"), "vqa_score_metric: expected a number, found 'high'"),
        (
            lambda config: config.update(vqa_grad_norm={"no.such": 1.0}),
            "vqa_grad_norm: names no.such (expected weights",
        ),
        (lambda config: config.pop("vision"), "width / 64): give vision.heads in config.json"),
        (lambda config: config["text"].update(pad_token_id=10**6), "Padding_idx must be within num_embeddings"),
        (lambda config: config["text"].update(pad_token_id=None), "the inputs do not fit the model"),
    ],
)
def test_settings_of_a_bundle_that_cannot_be_used(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(ROOTS[0] / "bt", tmp_path / "bundle"))
    reconfigured(folder, change)
    with pytest.raises(UserError) as caught:
        verify(folder)
    assert told in str(caught.value)


def test_what_nothing_is_compared_with_is_told(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    rewritten(folder / "io.safetensors", lambda io: io.update({"out/mystery": torch.zeros(2)}))
    assert verify(folder).not_compared == ("out/mystery",)


TEXT_FACTS = ("hidden_dropout_prob", "layer_norm_eps")
POOLER = "bridgetower.cross_modal_text_pooler.dense.weight"
SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no bundle": (shutil.rmtree, "no such bundle: expected a folder"),
    "missing file": (lambda folder: (folder / "io.safetensors").unlink(), "is no bundle: it has no io.safetensors"),
    "cut": (
        lambda folder: (folder / "state_dict.safetensors").write_bytes(
            (ROOTS[0] / SMALL / "io.safetensors").read_bytes()[:5000]
        ),
        "is not a readable safetensors file",
    ),
    "no outputs": (
        lambda folder: rewritten(
            folder / "io.safetensors", lambda io: [io.pop(name) for name in list(io) if not name.startswith("in/")]
        ),
        "holds no outputs",
    ),
    "no inputs": (
        lambda folder: rewritten(folder / "io.safetensors", lambda io: io.pop("in/pixel_values")),
        "lacks the inputs in/pixel_values",
    ),
    "renamed": (
        lambda folder: rewritten(folder / "state_dict.safetensors", lambda w: w.update({POOLER + "x": w.pop(POOLER)})),
        POOLER,
    ),
    "reshaped": (
        lambda folder: rewritten(
            folder / "state_dict.safetensors", lambda w: w.update({POOLER: w[POOLER][:, :8].clone()})
        ),
        "cross_modal_text_pooler",
    ),
    "misshapen output": (
        lambda folder: rewritten(folder / "io.safetensors", lambda io: io.update({"itm/logits": torch.zeros(3, 5)})),
        "itm/logits has shape (3, 5), expected (3, 2)",
    ),
    "flat words": (
        lambda folder: rewritten(
            folder / "io.safetensors", lambda io: io.update({"in/input_ids": io["in/input_ids"].flatten()})
        ),
        "in/input_ids has shape (33,), expected [B, L]",
    ),
    "unfitting input": (
        lambda folder: rewritten(
            folder / "io.safetensors", lambda io: io.update({"in/pixel_values": torch.zeros(3, 3, 20, 20)})
        ),
        "the inputs do not fit the model",
    ),
    "wrong configuration": (
        lambda folder: (folder / "config.json").write_text("{}"),
        "lacks 'config', which weight shapes do not determine",
    ),
    "configuration of no model": (
        lambda folder: (folder / "config.json").write_text(
            json.dumps({"config": {"text_config": {"num_attention_heads": "four", **dict.fromkeys(TEXT_FACTS, 1e-5)}}})
        ),
        "num_heads: expected a number of heads, found 'four'",
    ),
    "foreign": (
        lambda folder: save_file({"layer.weight": torch.zeros(2)}, folder / "state_dict.safetensors"),
        "is no METER, BridgeTower or ManagerTower",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_bad_bundles_are_refused_in_one_line(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, (spoil, told) = copied(tmp_path), SPOILT[how]
    spoil(folder)
    assert command(monkeypatch, folder) == 2
    message = capsys.readouterr().err.strip()
    assert told in message
    assert message.startswith(f"error: {folder}")
    assert "\n" not in message


def test_a_bundle_whose_weights_have_nothing_to_show_for_them_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    rewritten(
        folder / "io.safetensors",
        lambda io: (
            [io.pop(name) for name in list(io) if not name.startswith("in/")] and io.update({"out/x": torch.ones(1)})
        ),
    )
    with pytest.raises(UserError, match="holds nothing that could be compared"):
        verify(folder)


@torch.no_grad()
def test_a_bundle_of_ones_own_of_other_sizes(tmp_path: Path) -> None:
    """Made by transformers here and now: unequal depths and widths, two images of five patches a side."""
    from transformers import BridgeTowerConfig, BridgeTowerForImageAndTextRetrieval

    torch.manual_seed(0)
    shared = {"hidden_size": 32, "num_attention_heads": 4}
    words = {"num_hidden_layers": 3, "intermediate_size": 96, "vocab_size": 90, "max_position_embeddings": 24}
    pictures = {"hidden_size": 64, "num_hidden_layers": 5, "patch_size": 4, "image_size": 20}
    config = BridgeTowerConfig(
        **shared, num_hidden_layers=2, link_tower_type="scaled_add", text_config=shared | words, vision_config=pictures
    )
    theirs = BridgeTowerForImageAndTextRetrieval(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    ids = torch.randint(5, 90, (2, 9))
    ids[0, 6:] = 1  # padding
    given = {"input_ids": ids, "attention_mask": (ids != 1).long(), "pixel_values": torch.randn(2, 3, 20, 20)}
    out = theirs.bridgetower(**given)
    io = {f"in/{name}": tensor for name, tensor in given.items()} | {
        **{f"out/{name}": out[name].contiguous() for name in ("text_features", "image_features", "pooler_output")},
        "in/itm_labels": torch.tensor([0, 1]),
        "itm/logits": theirs(**given).logits,
    }
    save_file(
        {name: tensor.clone() for name, tensor in theirs.state_dict().items()}, tmp_path / "state_dict.safetensors"
    )
    save_file(io, tmp_path / "io.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"config": config.to_dict()}, default=str))
    found = verify(tmp_path)
    assert found.ok
    assert {quantity.name for quantity in found.quantities} == {name for name in io if not name.startswith("in/")}
