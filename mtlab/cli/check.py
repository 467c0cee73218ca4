"""`mtlab check`: try a manager by the contract that every manager keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, PluginOption
from mtlab.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from mtlab.contract.check import RuleResult

_MARKS = {"kept": "[green]✓[/]", "broken": "[red]✗[/]", "skipped": "[dim]–[/]"}


def check(
    name: Annotated[str, typer.Argument(metavar="MANAGER", help="Name of a registered manager, yours or ours.")],
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try a manager by the contract: shapes, masks, gradients, weights, precision, saving, compiling.

    One line a rule; exit code 1 if one is broken. The same rules run in your own tests: mtlab.testing.ManagerContract.
    """
    from mtlab.config.plugins import import_named_plugins
    from mtlab.contract.check import NOT_TRIED, check_manager
    from mtlab.managers.base import MANAGERS

    import_named_plugins(plugin or [])
    entry = MANAGERS.get(name)
    with progress_bar(f"checking {name}") as progress:
        results = check_manager(name, progress)
    broken = sum(result.verdict == "broken" for result in results)
    if as_json:
        print_json(
            {"manager": name, "origin": entry.origin, "version": entry.version, "rules": list(map(_to_json, results))}
        )
    else:
        tried = [result for result in results if result.skipped[:1] != [NOT_TRIED]]
        _print(f"{name} · version {entry.version} · {entry.origin}", tried)
        kept = sum(result.verdict == "kept" for result in tried)
        untried = f", {len(results) - len(tried)} {NOT_TRIED}" if len(results) > len(tried) else ""
        silent = len(tried) - kept - broken
        typer.echo(f"{len(results)} rules: {kept} kept, {broken} broken, {silent} do not apply{untried}")
        if broken:
            where = "the cross-modal layers below; image: on the grid of its tokens"
            typer.echo(f"a case is the options, then {where}; see docs/your-own-manager.md")
    raise typer.Exit(1 if broken else 0)


def _print(title: str, results: list[RuleResult]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, emoji=False)
    console.print(f"[bold]{escape(title)}[/]")
    for result in results:
        cases = f" [dim]({result.cases} cases)[/]" if result.cases > 1 and result.verdict == "kept" else ""
        reason = f" [dim]({escape(result.skipped[0])})[/]" if result.verdict == "skipped" else ""
        console.print(f"{_MARKS[result.verdict]} {escape(result.rule.summary)}{cases}{reason}")
        for problem, where in _group_by_problem(result).items():
            console.print(f"    {escape(problem)} [dim]({escape(', '.join(where))})[/]")


def _group_by_problem(result: RuleResult) -> dict[str, list[str]]:
    """Group broken cases by what went wrong: mostly it is one thing."""
    groups: dict[str, list[str]] = {}
    for case, problem in result.broken:
        groups.setdefault(problem, []).append(case or "always")
    return groups


def _to_json(result: RuleResult) -> dict[str, object]:
    broken = [{"case": case, "problem": problem} for case, problem in result.broken]
    reason = result.skipped[0] if result.verdict == "skipped" else None
    return {
        "rule": result.rule.name,
        "says": result.rule.summary,
        "verdict": result.verdict,
        "cases": result.cases,
        "broken": broken,
        "reason": reason,
    }
