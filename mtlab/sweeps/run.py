"""Run a sweep: open its searches, and launch their trials until every budget is used up."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mtlab.config.load import composed_text
from mtlab.errors import UserError, first_line
from mtlab.launch.backends import LocalSettings, make_pool
from mtlab.launch.board import LaunchView
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.pool import Pool
from mtlab.launch.prepare import choose_launcher, fetch_weights, refuse_unavailable, refuse_unreadable_data
from mtlab.runs.store import Store
from mtlab.sweeps.driver import Driver, TrialEvent
from mtlab.sweeps.plan import store_plan, to_json
from mtlab.sweeps.search import Search, check_search, open_search
from mtlab.sweeps.spec import JOURNAL, read_sweep
from mtlab.sweeps.status import SearchStatus
from mtlab.sweeps.storage.base import SweepStorage, open_storage
from mtlab.sweeps.storage.journal import FILE
from mtlab.sweeps.variants import PreparedSweep, prepare


@dataclass(frozen=True)
class SweepOutcome:
    """How a launch of a sweep ended."""

    launch: LaunchOutcome
    statuses: tuple[SearchStatus, ...]  #: one per variant, in order
    external_failures: int  #: trials of this launch that failed for reasons outside of their settings

    @property
    def complete(self) -> bool:
        """Has every variant used up its budget?"""
        return all(each.complete for each in self.statuses)

    @property
    def exit_code(self) -> int:
        """0: every budget is used up; 1: not, or trials failed, or a search was given up; 130: interrupted."""
        if self.launch.interrupted:
            return 130
        given_up = any(each.given_up for each in self.statuses)
        return 0 if self.complete and not given_up and not self.external_failures else 1


def prepare_file(path: Path, overrides: Sequence[str], *, plugins: bool) -> PreparedSweep:
    """Read, expand and price a sweep.

    Args:
        path: the sweep's file.
        overrides: KEY=VALUE each.
        plugins: may the sweep's plug-ins be imported?

    Raises:
        UserError: anything in the file is wrong.

    """
    sweep = read_sweep(path, overrides)
    sweep = replace(sweep, study=replace(sweep.study, plugins_allowed=plugins))
    sweep.study.import_plugins()
    return prepare(sweep)


def check_runnable(prepared: PreparedSweep, launcher: str | None, log: Callable[[str], None]) -> PreparedSweep:
    """Fetch missing weights, and refuse what cannot be run here.

    Args:
        prepared: the sweep.
        launcher: a launcher that the command line names, if it does.
        log: prints a line.

    Raises:
        UserError: data, weights or a device are not available.

    """
    refuse_unreadable_data(prepared.as_plan)
    if prepared.as_plan.unresolved:
        fetch_weights(prepared.as_plan, log)
        prepared = prepare(prepared.sweep)
    refuse_unavailable(prepared.as_plan, choose_launcher(prepared.sweep.study, launcher))
    return prepared


@contextmanager
def claim_storage(prepared: PreparedSweep, store: Store, *, replace: bool) -> Iterator[SweepStorage]:
    """Open a sweep's storage, and claim its name in the store for its file.

    Raises:
        UserError: the name belongs to another file, the storage cannot be opened, or a search has another definition.

    """
    sweep, text = prepared.sweep, composed_text(prepared.sweep.path)
    store.check_claim(sweep.name, sweep.path, text, replace=replace)
    storage = _open(prepared, store)
    try:
        check_searches(prepared, storage)
        store.claim_study(sweep.name, sweep.path, text, replace=replace)
        yield storage
    finally:
        storage.close()


@contextmanager
def view_storage(prepared: PreparedSweep, store: Store, *, replace: bool) -> Iterator[SweepStorage | None]:
    """Open a sweep's storage as `claim_storage` does, but write nothing to the store; None if the sweep has not begun.

    Raises:
        UserError: as `claim_storage`.

    """
    sweep, folder = prepared.sweep, store.study(prepared.sweep.name)
    store.check_claim(sweep.name, sweep.path, composed_text(sweep.path), replace=replace)
    begun = folder if sweep.keys.storage != JOURNAL else folder / FILE
    if not begun.exists():
        yield None
        return
    storage = _open(prepared, store, create=False)
    try:
        check_searches(prepared, storage)
        yield storage
    finally:
        storage.close()


def _open(prepared: PreparedSweep, store: Store, *, create: bool = True) -> SweepStorage:
    sweep = prepared.sweep
    try:
        return open_storage(sweep.keys.storage, sweep.name, store.study(sweep.name), create=create)
    except UserError as error:
        raise (sweep.error(error.problem, error.key) if error.file is None else error) from None


def open_searches(prepared: PreparedSweep, storage: SweepStorage) -> tuple[Search, ...]:
    """Open or begin the search of every variant.

    Raises:
        UserError: one of them was begun with another space, objective or the like: then none is begun.

    """
    with storage.exclusive():
        check_searches(prepared, storage)
        return tuple(open_search(prepared, variant, storage) for variant in prepared.variants)


def check_searches(prepared: PreparedSweep, storage: SweepStorage) -> None:
    """Refuse to continue a sweep of which the definition of some search has changed.

    Raises:
        UserError: one has.

    """
    for variant in prepared.variants:
        check_search(prepared, variant, storage)


def configs_of(prepared: PreparedSweep) -> dict[str, dict[str, Any]]:
    """Return the configurations of the variants as in `config.json`: their trials need the same machines."""
    return {variant.label: {"config": variant.cell.config} for variant in prepared.variants}


def run_searches(
    prepared: PreparedSweep,
    searches: Sequence[Search],
    storage: SweepStorage,
    store: Store,
    *,
    pool: Pool | None = None,
    policy: LaunchPolicy | None = None,
    view: LaunchView | None = None,
    on_event: Callable[[TrialEvent], None] = lambda _: None,
) -> SweepOutcome:
    """Search until every variant has used up its budget, or nothing more can be done.

    Args:
        prepared: the sweep.
        searches: see `open_searches`.
        storage: the sweep's storage.
        store: the run store.
        pool: where runs are executed; by default this machine, with the sweep's resources.
        policy: retries, time limits and what stops the sweep.
        view: shows the progress.
        on_event: called with what happens to trials.

    """
    token = secrets.token_hex(8)
    with report_storage_loss(), storage.register_launcher(token):
        with storage.exclusive():
            stored = store_plan(prepared, storage, store)
            for search in searches:
                search.release_orphans(search.status(), token)
                search.retry()
        driver = Driver(prepared, searches, storage, store, token, on_trial=stored.add, on_event=on_event)
        try:
            outcome = launch(
                store,
                to_json(prepared),
                {},
                pool=pool or make_pool(LocalSettings(), prepared.sweep.keys.resources, configs_of(prepared)),
                policy=policy,
                view=view,
                source=driver,
            )
            driver.finish()
        except BaseException:
            with suppress(Exception):  # the first error is raised; the next launcher finds this one gone
                driver.release()
            raise
        driver.release()
        return SweepOutcome(outcome, tuple(search.status() for search in searches), driver.external_failures)


@contextmanager
def report_storage_loss() -> Iterator[None]:
    """Raise the loss of the storage as a `UserError`: nothing else is lost with it."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        cause = first_line(error.__cause__ or error)
        raise UserError(
            f"the storage was lost on the way ({cause}); the same command goes on once it is back"
        ) from error
