"""How torch takes products in float32: exactly, by the faster of its libraries or by its default one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Let oneDNN take matrix products in float32 on AMD processors with AVX-512, where MKL reaches half of its speed.

    torch has one switch for it, which also allows bfloat16 within products: oneDNN makes use of that on processors with
    AMX alone, which AMD's do not have. Should a product not be exact all the same, the switch goes back. Where there is
    CUDA, on which it would allow TF32, it stays as it is.
    """
    before = torch.get_float32_matmul_precision()
    with _precision("medium" if _is_mkl_slow() else before):
        if torch.get_float32_matmul_precision() != before and matmul_error() > 1e-6:
            torch.set_float32_matmul_precision(before)
        yield


@contextmanager
def default_matmul() -> Iterator[None]:
    """Take matrix products and convolutions in float32 by torch's default library, also within `fast_matmul`.

    TF32, which cuDNN would take for convolutions, is off: what is computed on a GPU is as exact as on a CPU.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with _precision("highest"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def matmul_error() -> float:
    """Measure the relative error of a product of two matrices in float32: about 1e-7, in bfloat16 1e-3."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = one.double() @ other.double()
    return float(((one @ other).double() - exact).norm() / exact.norm())


@contextmanager
def _precision(wanted: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(wanted)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _is_mkl_slow() -> bool:
    known = Path("/proc/cpuinfo")
    if torch.cuda.is_available() or not known.exists() or "AuthenticAMD" not in known.read_text(encoding="utf-8"):
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
