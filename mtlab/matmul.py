"""How torch takes products in float32: exactly, by the faster of its libraries or by its default one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
ZEN_5 = 26  #: AMD's `cpu family`; that of Zen 3 and 4 is 25


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Let oneDNN take matrix products in float32 where MKL reaches half of its speed: on AMD processors from Zen 5 on.

    Their units are twice as wide as what MKL uses on AMD. Those of Zen 4 are not, and small models gain nothing there.
    Where there is CUDA, TF32 is off: float32 is float32 there, too.
    """
    if torch.cuda.is_available():
        with default_matmul():
            yield
    elif _is_mkl_slow():
        with onednn_matmul():
            yield
    else:
        yield


@contextmanager
def onednn_matmul() -> Iterator[None]:
    """Let oneDNN take matrix products in float32 on a CPU.

    torch has one switch for it, which also allows bfloat16 within products, and TF32 on a GPU: oneDNN makes use of that
    on processors with AMX alone, which AMD's do not have. Should a product not be exact, the switch goes back.
    """
    before = torch.get_float32_matmul_precision()
    with _precision("medium"):
        if not _is_exact():
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


@functools.cache  # measured once in a process, within `onednn_matmul`
def _is_exact() -> bool:
    return matmul_error() < 1e-6


@functools.cache
def _is_mkl_slow() -> bool:
    known = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    family = re.search(r"^cpu family\s*: (\d+)$", known, re.MULTILINE)
    if torch.cuda.is_available() or "AuthenticAMD" not in known or family is None or int(family[1]) < ZEN_5:
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkldnn.is_available()
