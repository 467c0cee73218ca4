"""What the docs show is what the tool does: studies can be planned, commands exist, links lead somewhere."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from packages import LANGUAGE_MODEL, LANGUAGE_MODELS, need_packages

from mtlab.cli import COMMANDS
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.variants import prepare

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
STUDIES = [block for block in BLOCKS if block.startswith("kind: ablation")]
SWEEPS = [block for block in BLOCKS if block.startswith("kind: sweep")]
RECIPES = sorted((ROOT / "experiments").glob("*.yaml"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(autouse=True)
def one_cache(shared: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read each tower and count each architecture once for all pages and recipes."""
    monkeypatch.setenv("MTLAB_CACHE", str(shared))


@pytest.mark.parametrize("text", STUDIES, ids=lambda text: text.split("name: ")[1].split()[0])
def test_studies_in_the_docs_can_be_planned(text: str, tmp_path: Path) -> None:
    need_packages(*(LANGUAGE_MODEL if "name: mllm\n" in text else ()))
    (tmp_path / "study.yaml").write_text(text)
    assert make_plan(read_study(tmp_path / "study.yaml")).runs


@pytest.mark.parametrize("text", SWEEPS, ids=lambda text: text.split("name: ")[1].split()[0])
def test_sweeps_in_the_docs_can_be_planned(text: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    assert prepare(read_sweep(tmp_path / "sweep.yaml")).variants


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in LANGUAGE_MODELS else []) for path in RECIPES],
    ids=lambda path: path.stem,
)
def test_every_recipe_can_be_planned(recipe: Path) -> None:
    need_packages(*(LANGUAGE_MODEL if recipe.stem in LANGUAGE_MODELS else ()))
    plan = make_plan(read_study(recipe))
    assert plan.runs
    assert plan.study.keys.why
    assert plan.study.name == recipe.stem


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_links_in_the_docs_exist(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0] == "mtlab" and len(words) > 1 and not words[1].startswith("-"):
                assert any(words[1] in panel for panel in COMMANDS.values()), line
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_the_docs_name_exist(name: str) -> None:
    for target in re.findall(r"`([a-z_\d/.]+(?:\.py|/))`", (ROOT / name).read_text()):
        assert any((folder / target).exists() for folder in (ROOT, ROOT / "mtlab", ROOT / "mtlab/data")), target


ENTRY_POINT_GROUPS = {  #: of plug-ins: they are no modules, though some are called like one
    f"mtlab.{kind}"
    for kind in (
        "converters",
        "datasets",
        "managers",
        "tasks",
        "text_towers",
        "trackers",
        "transforms",
        "vision_towers",
    )
}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "analysis/README.md"], ids=lambda path: path.name)
def test_python_names_and_files_in_the_docs_exist(page: Path) -> None:
    text = page.read_text()
    for name in set(re.findall(r"(?<![\w/.])mtlab(?:\.[A-Za-z_]\w*)+(?!\w*\.(?:md|yaml))", text)):
        assert name in ENTRY_POINT_GROUPS or resolves(name), name
    for file in set(re.findall(r"(?<![\w/.])(?:mtlab|tests|benchmarks|analysis|examples)/[\w/]+\.(?:py|csv)", text)):
        assert (ROOT / file).is_file(), file


def resolves(name: str) -> bool:
    """Is it a module, or an attribute of one, or of a class in it?"""
    words = name.split(".")
    for parts in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:parts]))
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, word, None)) is not None for word in words[parts:])
    return False
