"""The Python API: build a model, or load a trained one, and encode images and texts with it.

Example:
    model = mtlab.load("quickstart:static:0")
    states = model.encode(["cat.jpg"], ["What colour is the cat?"], record=True)

"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.config.load import compose, find_study_file, merge, nest, parse_override
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


def _read_settings(config: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Merge base files, settings and overrides, without filling in defaults."""
    written: dict[str, Any] = {}
    overrides = [overrides] if isinstance(overrides, str) else overrides
    if not isinstance(config, Mapping):
        return _read_study_settings(config, overrides)
    given = {key: value for key, value in config.items() if key != "base"}
    bases = config.get("base", [])
    for base in [bases] if isinstance(bases, str | Path) else bases:
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
