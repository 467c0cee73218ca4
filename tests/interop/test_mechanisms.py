"""Single mechanisms: our managers give the outputs and gradients of the authors' code, and a mistake is noticed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.interop.mechanisms import depthwise
from mtlab.interop.mechanisms.compare import FAMILIES, mechanism_family
from mtlab.interop.verification import verify
from mtlab.managers.base import Experts
from mtlab.managers.connectors import scalar_mix
from mtlab.managers.residual.residual_adaptive import ResidualAdaptive
from mtlab.model.mllm import managed
from mtlab.model.mllm.managed import ManagedModel
from mtlab.model.mllm.tokens import Spans

COMMITTED = Path(__file__).parents[1] / "golden/literature"
INEXPRESSIBLE = {"mudd", "mudd_published_sizes", "attnres_delta_v", "attnres_first_layer"}
NAMES = sorted(folder.name for folder in COMMITTED.iterdir())
AGREEING = [name for name in NAMES if name not in INEXPRESSIBLE and not name.startswith("hyper_connections")]
GOLDEN = os.environ.get("MTLAB_GOLDEN")
ELSEWHERE = sorted((Path(GOLDEN) / "literature").glob("*")) if GOLDEN else []


def expressible(name: str) -> bool:
    return name not in INEXPRESSIBLE and not name.startswith("hyper_connections")


@pytest.mark.parametrize("name", AGREEING)
def test_outputs_and_gradients_agree(name: str) -> None:
    found = verify(COMMITTED / name)
    assert not [(quantity.name, quantity.largest) for quantity in found.quantities if not quantity.ok]
    assert found.not_compared == ()
    io = load_file(COMMITTED / name / "io.safetensors")
    gradients = {
        key for key, value in io.items() if key.startswith(("grad/", "flat/grad/")) and value.abs().max() >= 1e-4
    }
    assert gradients <= {quantity.name for quantity in found.quantities}, "every gradient is compared"


@pytest.mark.skipif(not ELSEWHERE, reason="MTLAB_GOLDEN names no folder of more bundles")
@pytest.mark.parametrize("folder", ELSEWHERE, ids=lambda folder: folder.name)
def test_mechanisms_elsewhere_agree_or_are_told_to_be_none_of_ours(folder: Path) -> None:
    found = verify(folder)
    assert not found.differs
    assert found.ok == expressible(folder.name)
    assert found.not_compared == ()


def test_a_mechanism_that_is_none_of_ours_says_what_is_lacking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["mtlab", "verify", *map(str, arguments)])
        return main()

    assert command(COMMITTED / "mudd") == 2
    assert "cannot be expressed: mudd – several inputs per layer" in capsys.readouterr().out
    assert command(COMMITTED / "dense_connector_siglip", COMMITTED / "hyper_connections") == 2
    shown = capsys.readouterr().out
    assert "cannot be expressed: hyper_connections – streams carried" in shown
    assert "out/sti… of dense_connector_siglip – another number of tokens" in shown
    assert "1 of 1 bundles agree" in shown
    assert command("--json", COMMITTED / "mudd") == 2
    assert "several inputs" in json.loads(capsys.readouterr().out)["bundles"][0]["lacks"]


def test_the_last_sum_of_muddformer_has_one_way_and_agrees() -> None:
    number = 3
    weights, io = (load_file(COMMITTED / "mudd" / f"{name}.safetensors") for name in ("state_dict", "io"))
    inputs = {name.removeprefix("in/"): tensor for name, tensor in io.items() if name.startswith("in/")}
    mixed, made = depthwise.mudd_sum(weights, inputs, number, number + 1, 12)
    torch.testing.assert_close(mixed, io["out/final"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.unsqueeze(0), io[f"mid/weights.{number}"], rtol=1e-5, atol=1e-5)


def swap_query(self: ResidualAdaptive, inputs: object, own: Tensor) -> Tensor:
    """The own state's half of the map before the question's."""
    width = own.shape[-1]
    rolled = torch.nn.functional.linear(own, self.controller.weight[:, :width])
    return rolled.transpose(1, 2).unsqueeze(-1)


@pytest.mark.parametrize(
    ("name", "where", "what"),
    [
        ("ovm_adaptive_cross", "out/hidden", lambda io: io["in/own"].roll(1, 1)),
        ("scalar_mix_layer_norm", "out/mix", lambda io: io["out/mix"].flip(1)),
        ("attnres_block", "grad/in/embedding", lambda io: io["grad/in/embedding"] * 0),
        ("attnres_block", "grad/in/embedding", lambda io: io["grad/in/embedding"] * torch.nan),
    ],
)
def test_other_tensors_disagree(
    tmp_path: Path, name: str, where: str, what: Callable[[dict[str, Tensor]], Tensor]
) -> None:
    folder = copied(name, tmp_path)
    change(folder, lambda io: io.update({where: what(io).contiguous()}))
    found = verify(folder)
    assert found.differs
    assert where in [quantity.name for quantity in found.quantities if not quantity.ok]


def test_a_mistake_in_a_formula_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResidualAdaptive, "scores", swap_query)
    assert verify(COMMITTED / "ovm_adaptive_cross").differs
    monkeypatch.setattr(scalar_mix, "TINY", 0.1)
    assert verify(COMMITTED / "scalar_mix_layer_norm").differs
    plain = nn.LayerNorm.forward
    monkeypatch.setattr(nn.LayerNorm, "forward", lambda self, states: plain(self, states) * 1.001)
    assert verify(COMMITTED / "mmfuser").differs


@pytest.mark.parametrize(
    "mistake", ["a token late", "no level embedding", "another level", "the question a token late"]
)
def test_a_mistake_around_the_managers_of_a_language_model_is_noticed(
    monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    if mistake == "a token late":
        plain = Spans.scatter
        monkeypatch.setattr(Spans, "scatter", lambda self, states, values: plain(self, states, values.roll(1, 1)))
    elif mistake == "no level embedding":
        monkeypatch.setattr(ManagedModel, "_read_level_embeddings", lambda _self: None)
    elif mistake == "the question a token late":
        plain_fit = managed._fit
        monkeypatch.setattr(managed, "_fit", lambda question, default: plain_fit(question, default).roll(1, 1))
    else:
        monkeypatch.setattr(Experts, "levels", property(lambda self: (*self.states.unbind(1)[:-1], self.states[:, 0])))
    found = {quantity.name for quantity in verify(COMMITTED / "ovm_mllm_adaptive_cross").quantities if not quantity.ok}
    assert {"flat/out/logits", "multi/out/logits", "anyres_all/out/logits"} <= found


def test_a_gradient_that_is_lost_is_noticed(tmp_path: Path) -> None:
    folder = copied("attnres_op", tmp_path)
    change(folder, lambda io: io["grad/param/norm.weight"].mul_(1.01))
    bad = [quantity.name for quantity in verify(folder).quantities if not quantity.ok]
    assert bad == ["grad/param/norm.weight"]


def test_what_does_not_fit_together_is_told_in_a_line(tmp_path: Path) -> None:
    folder = copied("denseformer_connect_to_last", tmp_path)
    weights = load_file(folder / "state_dict.safetensors")
    weights["weight.0"] = torch.zeros(3)
    save_file(weights, folder / "state_dict.safetensors")
    with pytest.raises(UserError, match="do not fit together"):
        verify(folder)


def test_a_family_goes_by_the_authors_repository() -> None:
    assert {mechanism_family(json.loads((COMMITTED / name / "config.json").read_text())) for name in NAMES} == set(
        FAMILIES
    )
    assert mechanism_family({"source": "somebody/else", "options": {}, "sizes": {}}) is None
    assert mechanism_family([1]) is None


def copied(name: str, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(COMMITTED / name, tmp_path / name))
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "io.safetensors")
    edit(tensors)
    save_file(tensors, folder / "io.safetensors")
