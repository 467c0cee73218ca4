"""Measure the package's structure from its imports, and draw docs/architecture.svg: `make architecture`.

Prints the size of the largest ring of rooms, crowded folders, class names defined twice, lines of code, what one reads
to follow a manager and a training step, and lazy imports without a reason. `--root DIR` measures another checkout:

    git worktree add /tmp/before e2e98f9 && python tools/architecture.py --root /tmp/before

A room is a folder or a module directly in `mtlab/`. Nothing of the package is imported: the source is parsed.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path

from draw_rooms import Room, draw

PACKAGE = "mtlab"
CROWDED = 15  #: modules that a folder may hold
OUTSIDE = ("analysis",)  #: folders beside the package that earlier versions mapped into it
LAZY_ROOMS = ("cli",)  #: a command imports what it runs when it is run
MANAGERS = ("bridge", "adaptive")
WORKER = "training.worker"


@dataclass(frozen=True)
class Import:
    """An import of a module of the package."""

    target: str
    line: int
    lazy: bool  #: inside a function
    typing: bool  #: under `if TYPE_CHECKING`


@dataclass
class Module:
    """What the source of a module says."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: list[Import] = field(default_factory=list)
    libraries: set[str] = field(default_factory=set)  #: third-party packages that it imports at the top

    @property
    def room(self) -> str:
        """The folder or module directly in the package; empty for `mtlab/__init__.py`."""
        return self.name.split(".")[1] if "." in self.name else ""


def read(root: Path) -> dict[str, Module]:
    """Parse all modules of a checkout: dotted name → module."""
    modules: dict[str, Module] = {}
    folders = [(root / PACKAGE, PACKAGE)]
    folders += [(root / name, f"{PACKAGE}.{name}") for name in OUTSIDE if (root / name / "__init__.py").is_file()]
    for folder, prefix in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *(parts[:-1] if parts[-1] == "__init__" else parts)))
            text = path.read_text(encoding="utf-8")
            modules[name] = Module(name, path, ast.parse(text), text.count("\n"))
    for module in modules.values():
        _collect(module, module.tree, modules, lazy=False, typing=False)
    return modules


def _collect(module: Module, node: ast.AST, known: Mapping[str, Module], *, lazy: bool, typing: bool) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            names = [child.module or ""] if isinstance(child, ast.ImportFrom) else [each.name for each in child.names]
            for name in names:
                if name.split(".")[0] != PACKAGE:
                    if not lazy and not typing and name.split(".")[0] not in sys.stdlib_module_names:
                        module.libraries.add(name.split(".")[0])
                    continue
                within = [f"{name}.{each.name}" for each in child.names] if isinstance(child, ast.ImportFrom) else []
                targets = {target if target in known else name for target in within} or {name}
                module.imports += [Import(target, child.lineno, lazy, typing) for target in sorted(targets)]
            continue
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        _collect(module, child, known, lazy=lazy or function, typing=typing or guarded)


def room_imports(modules: Mapping[str, Module], *, top_level: bool = False) -> dict[str, Counter[str]]:
    """Count the imports from room to room; with `top_level`, without lazy and type-only ones."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for module in modules.values():
        if module.room in ("", "__main__"):  # the package itself hands out the Python API
            continue
        counts.setdefault(module.room, Counter())
        for each in module.imports:
            room = each.target.split(".")[1] if "." in each.target else ""
            if room and room != module.room and not (top_level and (each.lazy or each.typing)):
                counts[module.room][room] += 1
    return counts


def largest_ring(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Find the largest set of rooms that import one another, directly or through others; one room is no ring."""
    reach = {room: reachable(graph, room) for room in graph}
    rings = [sorted(other for other in reach[room] if room in reach.get(other, ())) or [room] for room in graph]
    return max(rings, key=len, default=[])


def reachable(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """Return all nodes that imports lead to from a node, itself only if it is on a ring."""
    found: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), ()):
            if target not in found:
                found.add(target)
                todo.append(target)
    return found


def crowded_folders(modules: Mapping[str, Module], root: Path) -> dict[str, int]:
    """Count the modules of folders that hold more than `CROWDED`."""
    folders = Counter(
        str(module.path.parent.relative_to(root)) for module in modules.values() if module.path.stem != "__init__"
    )
    return {folder: count for folder, count in folders.most_common() if count > CROWDED}


def repeated_classes(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Find public names of top-level classes that several modules define."""
    defined: dict[str, list[str]] = defaultdict(list)
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(module.name)
    return {name: places for name, places in sorted(defined.items()) if len(places) > 1}


def manager_files(modules: Mapping[str, Module], manager: str) -> list[Module]:
    """List the modules of `managers/` that a manager is built on, its own first."""
    needle = f"register_manager('{manager}'"
    own = next(
        module.name
        for module in modules.values()
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and any(needle in ast.unparse(each) for each in node.decorator_list)
    )
    graph = {
        name: [each.target for each in module.imports if module.room == "managers" and each.target in modules]
        for name, module in modules.items()
    }
    others = reachable(graph, own) - {own}
    return [modules[own], *(modules[name] for name in sorted(others) if modules[name].room == "managers")]


def step_files(modules: Mapping[str, Module]) -> list[Module]:
    """List the modules of `training/` on any way of imports from the worker to the line that steps the optimiser."""
    start, training = f"{PACKAGE}.{WORKER}", {name: m for name, m in modules.items() if m.room == "training"}
    graph = {name: {each.target for each in module.imports} & set(training) for name, module in training.items()}
    ends = {name for name, module in training.items() if _steps_optimiser(module.tree)}
    ways = [name for name in sorted(reachable(graph, start)) if ends & {name, *reachable(graph, name)}]
    return [training[start], *(training[name] for name in ways if name != start)]


def _steps_optimiser(tree: ast.Module) -> bool:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return any("optimi" in (text := ast.unparse(call.func)).lower() and text.endswith(".step") for call in calls)


def lazy_imports(modules: Mapping[str, Module]) -> tuple[list[tuple[Module, Import]], list[tuple[Module, Import]]]:
    """Find the imports within functions, a line each: those that save start-up time, and the others.

    One saves time if it leads to a library that the importing module does not load by itself. All in commands do: a
    command imports what it runs.
    """
    graph = {
        name: {each.target for each in module.imports if not each.lazy and not each.typing and each.target in modules}
        for name, module in modules.items()
    }

    @cache
    def loaded(name: str) -> frozenset[str]:
        names = {name, *reachable(graph, name)}
        return frozenset(library for each in names for library in modules[each].libraries)

    quick: list[tuple[Module, Import]] = []
    others: list[tuple[Module, Import]] = []
    for module in modules.values():
        lazy = [each for each in module.imports if each.lazy and each.target in modules]
        for _, line in groupby(lazy, key=lambda each: each.line):
            targets = list(line)
            new = [each for each in targets if loaded(each.target) - loaded(module.name)]
            (quick if new or module.room in LAZY_ROOMS else others).append((module, targets[0]))
    return quick, others


def summary(root: Path, modules: Mapping[str, Module]) -> Iterator[str]:
    """Write the measurements as lines of text."""
    ring = largest_ring(room_imports(modules))
    tops = largest_ring(room_imports(modules, top_level=True))
    yield f"largest ring of rooms          {len(ring):>6}  {', '.join(ring) if len(ring) > 1 else ''}".rstrip()
    yield f"  by top-level imports alone   {len(tops):>6}"
    crowded = crowded_folders(modules, root)
    listed = ", ".join(f"{name} {count}" for name, count in crowded.items())
    yield f"folders over {CROWDED} modules        {len(crowded):>6}  {listed}".rstrip()
    repeated = repeated_classes(modules)
    listed = ", ".join(f"{name} ×{len(places)}" for name, places in repeated.items())
    yield f"class names defined twice      {len(repeated):>6}  {listed}".rstrip()
    yield f"modules                        {len(modules):>6}"
    yield f"lines of product code          {sum(module.lines for module in modules.values()):>6,}"
    for manager in MANAGERS:
        yield _files(f"files to read for {manager}", manager_files(modules, manager))
    yield _files("files from worker to step", step_files(modules))
    quick, others = lazy_imports(modules)
    yield f"lazy imports for start-up time {len(quick):>6}"
    yield f"lazy imports for other reasons {len(others):>6}"
    for module, each in others[:20]:
        yield f"    {module.path.relative_to(root)}:{each.line} imports {each.target}"
    if len(others) > 20:
        yield f"    … and {len(others) - 20} more"


def _files(what: str, files: list[Module]) -> str:
    lines = sum(module.lines for module in files)
    names = ", ".join(module.name.partition(".")[2] for module in files)
    return f"{what:<30} {len(files):>6}  ({lines:,} lines: {names})"


def main() -> int:
    """Print the measurements; draw the picture where `--picture` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to measure")
    parser.add_argument("--picture", type=Path, help="an SVG file to draw the rooms into")
    arguments = parser.parse_args()
    modules = read(arguments.root)
    print("\n".join(summary(arguments.root, modules)))
    if arguments.picture:
        imports = room_imports(modules)
        sizes = {room: [module.lines for module in modules.values() if module.room == room] for room in imports}
        rooms = [Room(name, len(lines), sum(lines)) for name, lines in sizes.items()]
        arguments.picture.write_text(draw(rooms, imports), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
