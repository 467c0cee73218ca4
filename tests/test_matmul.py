"""Products in float32: exact whichever library takes them, and the same bits in the expert cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mtlab import matmul
from mtlab.data.cache.extract import extract_features
from mtlab.towers.base import Features
from mtlab.towers.build import build_tower


@pytest.fixture(autouse=True)
def _default() -> Iterator[None]:
    """Reset the setting, and what was measured of the processor, which tests pretend to be another."""
    known = (matmul._is_exact, matmul._is_mkl_slow)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    for each in known:
        each.cache_clear()
    yield
    torch.set_float32_matmul_precision(before)
    for each in known:
        each.cache_clear()


def test_the_processor_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model would do so at each call."""
    measured: list[float] = []
    (tmp_path / "cpuinfo").write_text("vendor_id\t: AuthenticAMD\ncpu family\t: 26\n")
    monkeypatch.setattr(matmul, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(matmul, "matmul_error", lambda: measured.append(1e-7) or 1e-7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for _ in range(3):
        with matmul.fast_matmul():
            assert torch.get_float32_matmul_precision() == "medium"
        (tmp_path / "cpuinfo").write_text("")
    assert len(measured) == 1


def test_fast_products_are_exact_and_left_behind() -> None:
    with matmul.fast_matmul():
        assert matmul.matmul_error() < 1e-6
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("error", "taken"), [(1e-7, "medium"), (1e-3, "highest")])
def test_products_that_are_not_exact_are_not_taken(error: float, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_is_mkl_slow", lambda: True)
    monkeypatch.setattr(matmul, "matmul_error", lambda: error)
    with matmul.fast_matmul():
        assert torch.get_float32_matmul_precision() == taken
        with matmul.default_matmul():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == taken
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("vendor", "family", "taken"),
    [("AuthenticAMD", 25, "highest"), ("AuthenticAMD", 26, "medium"), ("GenuineIntel", 26, "highest")],
)
def test_only_where_the_default_library_is_slow_another_takes_them(
    vendor: str, family: int, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\n")
    monkeypatch.setattr(matmul, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(matmul, "matmul_error", lambda: 1e-7)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with matmul.fast_matmul():
        assert torch.get_float32_matmul_precision() == taken


def test_what_the_user_has_set_stays_where_nothing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_is_mkl_slow", lambda: False)
    torch.set_float32_matmul_precision("high")
    with matmul.fast_matmul():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "high"


def test_cached_features_have_the_same_bits_in_workers_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    tower, seen = build_tower("text", {"name": "tiny_text"}), list[tuple[str, bool]]()
    forward = lambda *_: seen.append(settings()) or Features(())  # noqa: E731
    monkeypatch.setattr(tower, "forward", forward)
    torch.set_float32_matmul_precision("medium")
    assert settings() == ("medium", True), "cuDNN's default"
    extract_features(tower, ["a word"])
    assert seen == [("highest", False)]
    assert settings() == ("medium", True)


def test_float32_is_float32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.backends.cudnn.allow_tf32
    with matmul.fast_matmul():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 == before


def test_settings_come_back_after_an_error() -> None:
    with pytest.raises(KeyError), matmul.default_matmul():
        raise KeyError
    assert settings() == ("highest", True)


def settings() -> tuple[str, bool]:
    """Of matrix products, and of convolutions on a GPU: may they be TF32?"""
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
