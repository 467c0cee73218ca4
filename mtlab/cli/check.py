"""`mtlab check`: hold a manager to the contract that every manager keeps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.common import JsonOption, PluginOption, print_json

if TYPE_CHECKING:
    from mtlab.contract.check import Rule

_MARKS = {"kept": "[green]✓[/]", "broken": "[red]✗[/]", "skipped": "[dim]–[/]"}


def check(
    name: Annotated[str, typer.Argument(metavar="MANAGER", help="Name of a registered manager, yours or ours.")],
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a manager to the contract: shapes, masks, gradients, weights, precision, saving, compiling.

    One line a rule; exit code 1 if one is broken. The same suite runs in your own tests: mtlab.testing.ManagerContract.
    """
    from mtlab.config.plugins import import_named_plugins
    from mtlab.managers.base import MANAGERS

    import_named_plugins(plugin or [])
    entry = MANAGERS.get(name)
    rules = _held(name)
    broken = sum(rule.verdict == "broken" for rule in rules)
    if as_json:
        print_json(
            {"manager": name, "origin": entry.origin, "version": entry.version, "rules": list(map(_plain, rules))}
        )
    else:
        _print(f"{name} · version {entry.version} · {entry.origin}", rules)
        kept = sum(rule.verdict == "kept" for rule in rules)
        typer.echo(f"{len(rules)} rules: {kept} kept, {broken} broken, {len(rules) - kept - broken} do not apply")
        if broken:
            typer.echo("a case is the options, then the cross-modal layers below; see docs/your-own-manager.md")
    raise typer.Exit(1 if broken else 0)


def _held(name: str) -> list[Rule]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from mtlab.contract.check import hold

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"holding {name} to the contract", total=None)
        return hold(name, lambda done, cases: bar.update(task, completed=done, total=cases))


def _print(title: str, rules: list[Rule]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, emoji=False)
    console.print(f"[bold]{escape(title)}[/]")
    for rule in rules:
        cases = f" [dim]({rule.cases} cases)[/]" if rule.cases > 1 and rule.verdict == "kept" else ""
        reason = f" [dim]({escape(rule.skipped[0])})[/]" if rule.verdict == "skipped" else ""
        console.print(f"{_MARKS[rule.verdict]} {escape(rule.says)}{cases}{reason}")
        for problem, where in _grouped(rule).items():
            console.print(f"    {escape(problem)} [dim]({escape(', '.join(where))})[/]")


def _grouped(rule: Rule) -> dict[str, list[str]]:
    """Sort broken cases by what went wrong: mostly it is one thing."""
    found: dict[str, list[str]] = {}
    for case, problem in rule.broken:
        found.setdefault(problem, []).append(case or "always")
    return found


def _plain(rule: Rule) -> dict[str, object]:
    broken = [{"case": case, "problem": problem} for case, problem in rule.broken]
    reason = rule.skipped[0] if rule.verdict == "skipped" else None
    return {
        "rule": rule.test.removeprefix("test_"),
        "says": rule.says,
        "verdict": rule.verdict,
        "cases": rule.cases,
        "broken": broken,
        "reason": reason,
    }
