"""The Python API: build a model, or load a trained one, and encode images and texts with it.

Example:
    model = mtlab.load("quickstart:static:0")
    states = model.encode(["cat.jpg"], ["What colour is the cat?"], record=True)

"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.config.load import compose, find_study_file, merge, nest, parse_override
from mtlab.config.options import MAX_SEED
from mtlab.config.plugins import import_plugins
from mtlab.errors import UserError
from mtlab.inference.encoding import Model
from mtlab.inference.loading import build_model, import_run_plugins, load_imported, restore
from mtlab.resolution.resolve import resolve
from mtlab.runs.find_run import FinishedRun, check_unchanged, find_run
from mtlab.runs.imported_checkpoint import is_imported_checkpoint
from mtlab.runs.store import store_root
from mtlab.tasks.build import dataset_answers


def build(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, seed: int = 0, device: str = "cpu"
) -> Model:
    """Build a model with its towers' weights and a random cross-modal encoder and head.

    Args:
        config: a study or preset (a file, or the name of a shipped recipe), of which the settings under `set:` are used
            and the axes ignored; or a mapping of settings as under `set:`, dotted keys allowed, with an optional `base`
            (one or several files or recipes to merge them into).
        overrides: `KEY=VALUE`, as on the command line: `["manager=static", "model.width=32"]`.
        seed: of the random weights.
        device: "cpu", "cuda", "cuda:N" or "auto".

    Raises:
        UserError: the configuration is invalid, or weights or data are missing.

    """
    seed = _check_seed(seed)
    resolved = resolve(_read_settings(config, overrides))
    return build_model(resolved, dataset_answers(resolved), seed=seed, device=device)


def load(run: str | Path, *, store: Path | str | None = None, device: str = "cpu", plugins: bool = True) -> Model:
    """Load a trained model from a finished run (its best checkpoint) or from a folder made by `mtlab import`.

    Args:
        run: a run's folder, a checkpoint in it, `STUDY:VARIANT:SEED`, `CELL/sSEED`, or an imported checkpoint's folder.
        store: where studies and ids are looked up; None: `MTLAB_STORE`, else `./runs`.
        device: "cpu", "cuda", "cuda:N" or "auto".
        plugins: import the plug-ins that the run was trained with; False refuses such runs.

    Raises:
        UserError: there is no such run, it is not finished, or its data, weights or plug-ins are missing.

    """
    for key, value in {"run": run, "store": "" if store is None else store}.items():
        if not isinstance(value, str | Path):
            raise UserError(f"expected a path or a name, found {value!r}", key=key)
    if is_imported_checkpoint(Path(run).expanduser()):
        return load_imported(Path(run).expanduser(), device)
    return load_run(find_run(run, store_root(store)), device=device, plugins=plugins)


def load_run(
    found: FinishedRun, *, device: str = "cpu", plugins: bool = True, named: Sequence[str] | None = None
) -> Model:
    """Load the trained model of a run that was found, see `load`; `named`: see `import_run_plugins`."""
    import_run_plugins(found, allowed=plugins, named=named)
    check_unchanged(found.folder, found.config)
    config = found.config["config"]
    model = build_model(config, dataset_answers(config), seed=found.config["seed"], device=device)
    restore(model.network, found)
    return model


def _check_seed(given: Any) -> int:
    """Return a seed as an int: NumPy's integers are none."""
    try:
        seed = operator.index(given)
    except TypeError:
        seed = -1
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"expected a whole number from 0 to {MAX_SEED:,}, found {given!r}", key="seed")
    return seed


def _read_settings(config: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Merge base files, settings and overrides, without filling in defaults."""
    written: dict[str, Any] = {}
    overrides = [overrides] if isinstance(overrides, str) else overrides or ()
    if isinstance(config, str | Path):
        return _read_study_settings(config, overrides)
    if not isinstance(config, Mapping):
        raise UserError(f"expected settings, or the name or file of a study, found {config!r}", key="config")
    if wrong := [key for key in config if not isinstance(key, str)]:
        raise UserError(f"expected the name of a setting, found {wrong[0]!r}", key="config")
    given = {key: value for key, value in config.items() if key != "base"}
    bases = config.get("base") or []
    for base in bases if isinstance(bases, list | tuple) else [bases]:
        if not isinstance(base, str | Path):
            raise UserError(f"expected files or names of recipes, found {base!r}", key="base")
        written = merge(written, _read_study_settings(base))
    for key, value in given.items():
        written = merge(written, nest(key, value))
    for text in overrides:
        key, value = parse_override(text)
        if not key.startswith("set."):
            raise UserError(f"{text!r} is a key of a study; a model has settings alone", file="overrides")
        written = merge(written, nest(key.removeprefix("set."), value))
    return written


def _read_study_settings(name: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    path = find_study_file(str(name))
    source = compose(path, overrides)
    import_plugins(source.data.get("plugins") or [], path.resolve().parent)
    return dict(source.data.get("set") or {})
