"""`mtlab doctor`: the installation, and what of it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mtlab.cli.options import JsonOption, PluginOption, StoreOption
from mtlab.cli.output import print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def doctor(store: StoreOption = None, plugin: PluginOption = None, as_json: JsonOption = False) -> None:
    """Show versions, devices, folders, weights and plug-ins; exit code 1 if something is broken.

    A plug-in that failed to load is shown with its traceback. Paste the output into a bug report.
    """
    from mtlab.launch.doctor import diagnose
    from mtlab.runs.store import store_root

    diagnosis = diagnose(store_root(store), plugin or [])
    if as_json:
        print_json(diagnosis)
    else:
        _print(diagnosis)
    raise typer.Exit(1 if diagnosis["problems"] else 0)


def _print(diagnosis: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, emoji=False)
    python = diagnosis["python"]
    console.print(f"[bold]Python[/] {python['version']} · {escape(python['executable'])} · {python['platform']}")
    _section(console, "Packages", ("package", "version", ""), map(_package, diagnosis["packages"]))
    for extra in diagnosis["extras"]:
        missing = f"missing: {', '.join(extra['missing'])}" if extra["missing"] else "complete"
        console.print(f"extra {escape(extra['name'])}: {missing}")
    _section(console, "Devices", ("", ""), _devices(diagnosis["devices"]))
    _section(console, "Slurm", ("", ""), _slurm(diagnosis["slurm"]))
    _section(console, "Ray", ("", ""), _ray(diagnosis["ray"]))
    _section(console, "Places", ("", "folder", "size", "free", ""), map(_place, diagnosis["places"]))
    _section(console, "Weights without a hub", ("tower", "package", ""), map(_weights, diagnosis["weights"]))
    _print_registered(console, diagnosis["registered"])
    for failure in diagnosis["failed"]:
        console.print(f"\n[red bold]plug-in {escape(failure['plugin'])} failed to load[/]")
        console.print(escape(failure["trace"].rstrip()), style="dim")
    console.print()
    for problem in diagnosis["problems"]:
        console.print(f"[red]✗[/] {escape(problem)}")
    if not diagnosis["problems"]:
        console.print("[green]✓[/] nothing is broken")


def _section(console: Console, title: str, columns: tuple[str, ...], rows: Any) -> None:
    console.print(f"\n[bold]{title}[/]")
    console.print(_table(columns, rows))


def _table(columns: tuple[str, ...], rows: Any) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if any(columns) else None, pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _package(package: dict[str, Any]) -> tuple[str, str, str]:
    return package["name"], package["version"] or "–", package["problem"] or ""


def _devices(devices: dict[str, Any]) -> list[tuple[str, str]]:
    memory = f" · {devices['memory_gib']:.1f} GiB" if devices["memory_gib"] else ""
    usable = devices["usable_cores"]
    set_to = devices["omp_num_threads"]
    rows = [
        ("CPU", f"{devices['cpu']} · {usable} of {devices['cores']} cores usable{memory}"),
        ("threads", f"torch {devices['threads']} (OMP_NUM_THREADS {set_to or 'unset'}); a run takes train.threads"),
    ]
    gpus = [(gpu["device"], f"{gpu['name']} · {gpu['memory_gib']:.1f} GiB") for gpu in devices["cuda"]]
    rows += gpus or [("CUDA", "none")]
    return [*rows, ("MPS", "there, but not used")] if devices["mps"] else rows


def _slurm(slurm: dict[str, Any]) -> list[tuple[str, str]]:
    if slurm["version"] is None:
        return [("sbatch", "none: runs are started on this machine alone")]
    rows = [("sbatch", slurm["version"])]
    if slurm["problem"]:
        rows.append(("", f"does not answer, so no jobs can be started: {slurm['problem']}"))
    for each in slurm["partitions"]:
        gpus = "" if each["gres"] in ("", "(null)") else f" · {each['gres']}"
        size = f"{each['nodes']} nodes of {each['cpus']} cores, {each['memory_mib']} MiB{gpus}"
        rows.append((each["name"], f"{each['state']} · up to {each['time_limit']} · {size}"))
    return rows


def _ray(ray: dict[str, Any]) -> list[tuple[str, str]]:
    if ray["version"] is None:
        return [("ray", "not installed")]
    rows = [("ray", ray["version"]), *([("", ray["problem"])] if ray["problem"] else [])]
    for node in ray["nodes"]:
        gpus = f" · {node['gpus']:g} GPUs" if node["gpus"] else ""
        rows.append((node["host"], f"{node['cpus']:g} CPUs · {node['memory_gib']:.1f} GiB{gpus}"))
    return rows


def _place(place: dict[str, Any]) -> tuple[str, str, str, str, str]:
    size, free = place["size_gib"], place["free_gib"]
    shown = "–" if size is None else f"{'' if place['size_whole'] else '> '}{size:.2f} GiB"
    state = place["problem"] or ("" if place["exists"] else "will be made")
    if "runs" in place:
        state = place["problem"] or f"{place['runs']} runs, {len(place['studies'])} studies"
    return place["name"], place["path"], shown, "–" if free is None else f"{free:.1f} GiB", state


def _weights(weights: dict[str, Any]) -> tuple[str, str, str]:
    return weights["tower"], f"{weights['package']} {weights['version'] or ''}", weights["install"] or "there"


def _print_registered(console: Console, rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    console.print("\n[bold]Registered[/]")
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(f"{row['kind']}s", []).append(row["name"] if not row["plugin"] else f"{row['name']}*")
    console.print(_table(("", ""), [(kind, ", ".join(names)) for kind, names in kinds.items()]))
    for row in rows:
        if row["plugin"]:
            package = f", {row['package']}" if row["package"] else ""
            console.print(escape(f"* {row['kind']} {row['name']}: plug-in {row['origin']}{package}"))
