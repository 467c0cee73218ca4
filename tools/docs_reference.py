"""The pages of the documentation site that are written from the code: commands, settings, registered classes, API."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from mtlab.cli import COMMANDS, app
from mtlab.config.schema import RunConfig
from mtlab.resolution.catalog import KINDS, catalogue, options
from mtlab.studies.spec import StudyKeys
from mtlab.sweeps.spec import SweepKeys

#: What `mtlab list` knows; the page of settings lists those.
CATALOGUES = tuple(kind for kind in KINDS if kind != "settings")
#: Modules of the Python API, by section.
API: dict[str, tuple[str, ...]] = {
    "Studies and models": (
        "mtlab.workflow.study", "mtlab.inference.api", "mtlab.inference.encoding", "mtlab.report.frame",
        "mtlab.report.layer_table", "mtlab.report.study",
    ),
    "Plug-ins": (
        "mtlab.managers.base", "mtlab.testing", "mtlab.towers.base", "mtlab.tasks.base", "mtlab.data.base",
        "mtlab.data.transforms.base", "mtlab.data.converters.base", "mtlab.tracking.base", "mtlab.config.options",
    ),
    "Managers in language models": (
        "mtlab.model.mllm.managed", "mtlab.model.mllm.compose", "mtlab.model.mllm.prompts",
    ),
}  # fmt: skip
API_PAGES = ("api-studies", "api-plug-ins", "api-language-models")
TITLES = {"datasets": "Data sets"}


def write_reference(folder: Path) -> None:
    """Write all pages of the reference into a folder."""
    folder.mkdir(parents=True)
    pages = {
        "cli": "\n".join(cli_page()),
        "settings": "\n".join(settings_page()),
        **{kind: "\n".join(catalogue_page(kind)) for kind in CATALOGUES},
        **{name: "\n".join(api_page(title)) for name, title in zip(API_PAGES, API, strict=True)},
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def cli_page() -> Iterator[str]:
    """List every command with its arguments and options."""
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    yield "# Commands\n\nWritten from the code. `mtlab COMMAND --help` says the same.\n"
    for panel, names in COMMANDS.items():
        yield f"## {panel}\n"
        for name in names:
            yield from _command(f"mtlab {name}", commands[name])


def _command(path: str, command: Any) -> Iterator[str]:
    inside: dict[str, Any] = getattr(command, "commands", {})
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    given = [each for each in command.params if each.param_type_name == "option" and "--help" not in each.opts]
    words = [path, *map(_metavar, arguments), *(["COMMAND"] if inside else []), *(["[OPTIONS]"] if given else [])]
    yield f"### {path}\n\n```sh\n{' '.join(words)}\n```\n\n{_plain(inspect.cleandoc(command.help or ''))}\n"
    if arguments or given:
        yield "| | |\n|---|---|"
        for each in arguments:
            yield f"| `{_cell(_metavar(each))}` | {_cell(_plain(each.help or ''))} |"
        for each in given:
            names = ", ".join(f"`{name}`" for name in [*each.opts, *each.secondary_opts])
            yield f"| {names} | {_cell(_plain(each.help or ''))}{_default(each)} |"
        yield ""
    for name, sub in inside.items():
        yield from _command(f"{path} {name}", sub)


def _metavar(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _default(option: Any) -> str:
    shown = option.show_default
    if isinstance(shown, str):
        return f" *Default: {shown}.*"
    plain = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
    return f" *Default: {option.default}.*" if shown and plain else ""


def settings_page() -> Iterator[str]:
    """List the keys of study and sweep files, and every setting of a run."""
    yield "# Keys and settings\n\nWritten from the code that checks them; `mtlab schema` gives editors the same.\n"
    yield "## Keys of a study\n"
    yield from _options(options(StudyKeys))
    yield "## Keys of a sweep\n\nAnd `finally`, the evaluation of each variant's best: [sweeps](../docs/sweeps.md).\n"
    yield from _options(options(SweepKeys))
    yield "## Settings of a run\n\nBelow `set:`, on axes, or as `KEY=VALUE` of the command line.\n"
    yield from _options(options(RunConfig))


def catalogue_page(kind: Any) -> Iterator[str]:
    """List all entries of a kind with their options."""
    title = TITLES.get(kind, kind.capitalize())
    yield f"# {title}\n\nWritten from the code: `mtlab list {kind} NAME` shows the same.\n"
    for entry in catalogue(kind):
        key = f", key `{entry['key']}`" if kind == "towers" else ""
        yield f"## {entry['name']}\n"
        if kind == "presets":
            yield f"{_plain(entry['summary'])}\n\n```yaml\n{entry['docs']}\n```\n"
            continue
        yield f"Version {entry['version']}{key}.\n\n{_paragraphs(entry['docs'])}\n"
        yield from _options(entry["options"])


def api_page(title: str) -> Iterator[str]:
    """List the public names of the modules of a section, by Sphinx's autodoc."""
    yield f"# {title}\n"
    for module in API[title]:
        yield f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"


def _options(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return
    yield "| option | default | type | what it does |\n|---|---|---|---|"
    for each in found:
        kind = " or ".join(f"`{choice}`" for choice in each["choices"]) if "choices" in each else _cell(each["type"])
        default = "" if each["default"] in ("", None, {}, []) else f"`{_cell(str(each['default']))}`"
        yield f"| `{each['name']}` | {default} | {kind} | {_cell(each['help'])} |"
    yield ""


def _paragraphs(docs: str) -> str:
    """Return a docstring as Markdown: its formulas and tables as they are."""
    head, _, rest = docs.partition("\n")
    return f"{_plain(head)}\n\n```text\n{rest.strip()}\n```\n" if rest.strip() else f"{_plain(head)}\n"


def _plain(text: str) -> str:
    """Return help without the marks of the terminal."""
    return text.replace("\\[", "[").replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
