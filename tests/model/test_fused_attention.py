"""The fused attention: within `fast_matmul`, where another library would take its products, as without."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from mtlab import attention
from mtlab.attention import fused_attention
from mtlab.matmul import default_matmul, onednn_matmul


@pytest.fixture(params=[default_matmul, onednn_matmul])
def _precision(request: pytest.FixtureRequest) -> Iterator[None]:
    with request.param():
        yield


@pytest.mark.usefixtures("_precision")
@pytest.mark.parametrize("tokens", [3, 40])
@pytest.mark.parametrize("masked", ["not", "where", "added"])
@pytest.mark.parametrize("recomputed", [False, True])
def test_it_is_torchs_attention(tokens: int, masked: str, *, recomputed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 4, tokens, 8), (2, 4, 30, 8), (2, 4, 30, 8)]
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    theirs = [each.detach().clone().requires_grad_() for each in ours]
    masks: list[torch.Tensor | None] = [None, None]
    if masked == "where":
        masks = [torch.rand(2, 1, 1, 30, generator=generator) > 0.3] * 2
    if masked == "added":
        bias = torch.randn(2, 1, 1, 30, generator=generator)
        masks = [bias.clone().requires_grad_(), bias.clone().requires_grad_()]
    found = fused_attention(*ours, masks[0], scale=0.5, recomputed=recomputed)
    weights = torch.randn(found.shape, generator=generator)
    (found * weights).sum().backward()
    with default_matmul():
        expected = F.scaled_dot_product_attention(*theirs, attn_mask=masks[1], scale=0.5)
        (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip([*ours, masks[0]], [*theirs, masks[1]], strict=True):
        if one is not None and one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("tokens", "precision"), [(40, "highest"), (3, "medium")])
def test_the_default_library_takes_products_that_are_not_very_small(
    tokens: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, torchs = list[str](), F.scaled_dot_product_attention
    note = lambda *args, **options: seen.append(torch.get_float32_matmul_precision()) or torchs(*args, **options)  # noqa: E731
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", note)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        fused_attention(torch.ones(1, 1, tokens, 8), torch.ones(1, 1, 30, 8), torch.ones(1, 1, 30, 8), None)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [precision]
