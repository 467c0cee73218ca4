"""`mtlab clean`: what killed workers, full caches and changed studies leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import format_bytes, print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.cleanup import Cleanup, Removable
    from mtlab.runs.store import Store

SHOWN = 12  #: paths of a kind on the terminal; --json lists all

Place = Literal["store", "cache"]


def clean(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY]...", help="With --runs: only runs that these started.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it; without this, only list it.")] = False,
    runs: Annotated[bool, typer.Option("--runs", help="Also run folders that no stored plan asks for.")] = False,
    only: Annotated[Place | None, typer.Option(help="Look in the store or in the cache alone.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what nobody needs: stale locks, temporary and damaged files, cache beyond its limit. Tells, unless --yes.

    The limit of the expert cache is MTLAB_CACHE_LIMIT_GB (20); its least recently used entries go first. Runs go with
    --runs alone, and only those that no stored plan asks for. A finished run whose files have changed or are lost is
    set aside, so that it is trained again. What a live worker, launcher or reader holds stays.
    Exit code 1: something could not be removed.
    """
    from mtlab.runs.cleanup import Cleanup, find_in_cache, find_in_store
    from mtlab.runs.unplanned_runs import find_unplanned_runs

    if studies and not runs:
        raise UserError("names of studies limit --runs: add it", file="command line")
    if runs and only == "cache":
        raise UserError("--runs looks in the store: leave --only cache out", file="command line")
    found = Cleanup()
    opened = None if only == "cache" else _store(store, needed=runs or only == "store")
    with _told("looking") as seen:
        if opened is not None:
            _add(found, find_in_store(opened, progress=seen))
        if opened is not None and runs:
            _add(found, find_unplanned_runs(opened, studies or (), progress=seen))
        if only != "store":
            _add(found, _cache(find_in_cache))
        problems = _removed(found.items, seen) if yes else {}
    if as_json:
        print_json(_as_data(found, problems, yes=yes))
    else:
        _print(found, problems, opened, yes=yes)
    raise typer.Exit(1 if problems else 0)


def _store(option: Path | None, *, needed: bool) -> Store | None:
    """Open the store; return None where there is none and none is required."""
    from mtlab.runs.store import Store, store_root

    root = store_root(option)
    if option is None and not needed and not (root / "store.json").is_file():
        return None
    store = Store.open(root)
    store.check_writable()
    return store


def _cache(look: Callable[[Path, int], Cleanup]) -> Cleanup:
    from mtlab.data.cache.size_limit import limit_bytes
    from mtlab.files import cache_root

    return look(cache_root(), limit_bytes())


def _add(found: Cleanup, more: Cleanup) -> None:
    known = {item.path for item in found.items}
    found.items += [item for item in more.items if item.path not in known]
    found.kept += [each for each in more.kept if each not in found.kept]


@contextmanager
def _told(word: str) -> Iterator[Callable[[str], None]]:
    """Show on the terminal's error stream what is being looked at."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(word) as status:
        yield lambda what: status.update(escape(what))


def _removed(items: Sequence[Removable], seen: Callable[[str], None]) -> dict[Path, str]:
    """Remove; return what could not be, and why."""
    from mtlab.runs.cleanup import InUseError

    problems = {}
    for number, item in enumerate(items, 1):
        seen(f"removing {number} of {len(items)}: {item.path}")
        try:
            item.remove()
        except (InUseError, UserError) as error:
            problems[item.path] = str(error)
        except OSError as error:
            problems[item.path] = error.strerror or str(error)
    return problems


def _as_data(found: Cleanup, problems: dict[Path, str], *, yes: bool) -> dict[str, Any]:
    return {
        "format": 1,
        "dry_run": not yes,
        "bytes": sum(item.bytes for item in found.items if item.path not in problems),
        "items": [
            {
                "kind": item.kind,
                "path": str(item.path),
                "bytes": item.bytes,
                "why": item.why,
                "removed": yes and item.path not in problems,
                "problem": problems.get(item.path),
            }
            for item in found.items
        ],
        "kept": [{"path": str(path), "why": why} for path, why in found.kept],
    }


def _print(found: Cleanup, problems: dict[Path, str], store: Store | None, *, yes: bool) -> None:
    from mtlab.files import cache_root

    kinds = dict.fromkeys(item.kind for item in found.items)
    for kind in kinds:
        items = [item for item in found.items if item.kind == kind]
        typer.echo(f"{kind}: {len(items)}, {format_bytes(sum(item.bytes for item in items))}")
        for item in items[:SHOWN]:
            typer.echo(f"  {item.path}  {format_bytes(item.bytes)}  {item.why}")
        if len(items) > SHOWN:
            typer.echo(f"  … and {len(items) - SHOWN} more (--json lists all)")
    for path, why in found.kept[:SHOWN]:
        typer.echo(f"kept: {path}: {why}")
    for path, why in problems.items():
        typer.echo(f"not removed: {path}: {why}", err=True)
    places = " and ".join(str(place) for place in (store.root if store else None, cache_root()) if place)
    if not found.items:
        typer.echo(f"nothing to remove in {places}")
        return
    gone = [item for item in found.items if item.path not in problems]
    total = format_bytes(sum(item.bytes for item in gone))
    if yes:
        typer.echo(f"removed {len(gone)} of {len(found.items)}, {total}")
    else:
        typer.echo(f"would remove {len(found.items)}, {total}; nothing was touched: add --yes to remove them")
