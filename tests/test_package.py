"""The wheel that is built from the sdist works in an environment of its own, far from the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from calling import mtlab

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command where no checkout is on Python's path; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PIP_NO_INDEX": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Build an sdist or a wheel of a source folder; return its path."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target, cwd=source)
    return next(target.glob("*.tar.gz" if kind == "sdist" else "*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `mtlab` of a new environment with the wheel alone; it borrows the dependencies of this one."""
    folder = tmp_path_factory.mktemp("package")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    source = next(folder.glob("mtlab-*/"))
    wheel = build("wheel", source, folder)
    assert wheel.name.startswith(f"{source.name}-")  # without git, the version is the sdist's
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    where = run(python, "-c", "import mtlab; print(mtlab.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(environment)
    assert (packages / "mtlab" / "py.typed").is_file()
    return environment / "bin" / "mtlab"


@pytest.mark.slow
def test_recipes_are_found_and_runs_have_the_ids_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "adaptive" in run(installed, "list", "managers", cwd=tmp_path)
    plan = json.loads(run(installed, "plan", "quickstart", "--json", cwd=tmp_path))
    checkout = json.loads(mtlab("plan", ROOT / "experiments/quickstart.yaml", "--json", cwd=tmp_path).stdout)
    assert [each["id"] for each in plan["runs"]] == [each["id"] for each in checkout["runs"]]
    assert "quick" in run(installed, "sweep", "plan", "quick", cwd=tmp_path)


@pytest.mark.slow
def test_a_new_study_is_trained_and_its_page_written(installed: Path, tmp_path: Path) -> None:
    assert "mine.yaml" in run(installed, "new", "mine", cwd=tmp_path)
    (tmp_path / "tiny.yaml").write_text(
        "kind: ablation\nname: tiny\nwhy: Does the wheel hold everything?\nbase: [presets/small, presets/shapes]\n"
        "set:\n  text: {name: tiny_text}\n  vision: {name: tiny_vision}\n  data: {train: 64, val: 16, test: 16}\n"
        "  train: {length: {steps: 2}, eval_every: 2}\n"
        "axes: {manager: [bridge, static]}\n"
    )
    assert "1/1 seeds" in run(installed, "run", "tiny.yaml", "study.seeds=1", cwd=tmp_path)
    page = tmp_path / "page.html"
    run(installed, "report", "tiny", "--format", "html", "--out", page, cwd=tmp_path)
    assert "</script>" in page.read_text()


@pytest.mark.slow
def test_the_version_is_the_tag_and_a_copy_without_git_has_one(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("mtlab", "experiments", "sweeps"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()

    def version() -> str:
        return build("wheel", tmp_path, tmp_path / "dist").name.split("-")[1]

    def git(*words: str) -> None:
        run("git", "-c", "user.name=me", "-c", "user.email=me@here", *words, cwd=tmp_path)

    assert version() == "0.1.0.dev0"
    shutil.rmtree(tmp_path / "dist")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "-m", "All")
    assert version().startswith("0.1.0.dev1+g")
    shutil.rmtree(tmp_path / "dist")
    git("tag", "v0.3.0")
    assert version() == "0.3.0"
