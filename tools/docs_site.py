"""Builds the documentation site: `python tools/docs_site.py` writes .build/site; open index.html, it needs no network.

Sphinx reads a copy of the Markdown files of this repository, laid out as here, so that one link leads to the same place
on a code host and on the site; beside them lie the pages that are written from the code (`docs_reference.py`).
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from docs_reference import API_PAGES, CATALOGUES, write_reference

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "examples/README.md", "analysis/README.md")
FURTHER = ("tests/golden/README.md", "analysis/predictions.md")  #: pages that others link to
PICTURES = ("docs/*.svg", "docs/*.png")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
#: Section of the site → its pages, in order.
SECTIONS = {
    "Start": "README docs/concepts docs/glossary docs/comparison examples/README",
    "What was found": "docs/results docs/results-tables docs/results-history analysis/README",
    "Compare": "docs/studies docs/seeds docs/statistics docs/sweeps docs/recording docs/figures docs/inspect "
    "docs/dashboard docs/terminal docs/mistakes",
    "Plug in": "docs/your-own-manager docs/your-own-questions docs/trackers docs/wandb docs/api docs/mllm",
    "Data and models": "docs/managers docs/tasks docs/worlds docs/testbeds docs/data docs/transforms docs/checkpoints "
    "docs/fidelity docs/optimisation",
    "Run and publish": "docs/scaling docs/several-processes docs/budget docs/performance docs/reliability "
    "docs/damaged-files docs/security docs/sharing docs/json docs/report-json",
    "Reference": " ".join(
        ["reference/cli reference/settings", *(f"reference/{name}" for name in (*CATALOGUES, *API_PAGES))]
    ),
    "Develop": "CONTRIBUTING docs/architecture CHANGELOG",
}


INTRODUCTION = """# mtlab

Experiments and ablations on one question: *how should a vision-language model draw on the layers of its pre-trained
encoders?*

![A manager in front of each cross-modal layer weighs all levels](docs/concepts-manager.svg)

[Start](README.md), read the [concepts](docs/concepts.md), or look something up in the [commands](reference/cli.md) and
[settings](reference/settings.md).
"""


def stage(folder: Path) -> None:
    """Copy the pages, and what they link to, into a folder laid out as the repository; write the rest of the site."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in (*PAGES, *FURTHER, *PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            _copy(path, folder)
    for page in [*folder.rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for target in LINK.findall(text):
            source = (ROOT / page.relative_to(folder)).parent / target
            if source.is_dir():  # a site has no listing of folders
                text = re.sub(rf"\[([^\]]*)\]\({re.escape(target)}\)", r"\1", text)
            elif not (page.parent / target).exists() and source.is_file():
                _copy(source.resolve(), folder)
        page.write_text(text, encoding="utf-8")
    write_reference(folder / "reference")
    (folder / "index.md").write_text("\n".join(_index()) + "\n", encoding="utf-8")


def _copy(path: Path, folder: Path) -> None:
    target = folder / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _index() -> Sequence[str]:
    lines = [INTRODUCTION]
    for section, pages in SECTIONS.items():
        lines += ["```{toctree}", f":caption: {section}", ":hidden:", ":titlesonly:", "", *pages.split(), "```\n"]
    return lines


def build(out: Path) -> int:
    """Build the site; return Sphinx's exit code, which is not 0 if a link leads nowhere."""
    from sphinx.cmd.build import build_main

    source = out.with_name(f"{out.name}-source")
    stage(source)
    shutil.rmtree(out, ignore_errors=True)
    configuration = str(Path(__file__).parent / "docs_conf")
    return build_main(
        ["-q", "-W", "--keep-going", "-b", "html", "-c", configuration, "-d", f"{out}-cache", str(source), str(out)]
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD / "site", help="folder to write, replaced if it is there")
    given = parser.parse_args()
    code = build(given.out)
    if code == 0:
        print(f"written to {given.out / 'index.html'}: open it in a browser, it needs no network")
    return code


if __name__ == "__main__":
    sys.exit(main())
