"""A study in Python: declared, planned, run and reported without the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError

from mtlab.config import yaml
from mtlab.config.load import find_study_file
from mtlab.errors import UserError, nearest, one_line
from mtlab.files import read_text, write_text
from mtlab.launch.board import LaunchView, SilentView
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.prepare import plan_study
from mtlab.launch.views.live import make_view
from mtlab.launch.views.notebook import NotebookView, notebook_shell
from mtlab.report.frame import add_areas
from mtlab.report.layer_table import layer_frame, plan_rows
from mtlab.report.page import study_figures
from mtlab.report.study import StudyResults
from mtlab.runs.store import NAME, NAME_RULE, Store, store_root
from mtlab.studies.plan import Plan, to_json
from mtlab.studies.plan_status import asked_plan
from mtlab.studies.spec import DECLARED
from mtlab.workflow.execute import describe_problems, execute_study

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

    from mtlab.report.study_report import StudyReport

FIGURES = (
    study_figures.result_figures,
    study_figures.layer_figures,
    study_figures.pair_figures,
    study_figures.training_figures,
    study_figures.model_figures,
)


class Study:
    """A study to plan, run and report: `mtlab.Study.load("quickstart").run().report()`. Made by `Study.load`.

    Attributes:
        name: of the study.
        store: where its runs are.
        path: the study's file.

    """

    def __init__(self, name: str, path: Path, store: Store, make_plan: Callable[[], Plan]) -> None:
        self.name = name
        self.path = path
        self.store = store
        self._make_plan = make_plan

    @classmethod
    def load(
        cls,
        study: str | Path | Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        store: Path | str | None = None,
        plugins: bool = True,
    ) -> Study:
        """Load a study, and check and plan it; nothing is started.

        Args:
            study: a file, the name of a shipped recipe, or the content of a file as a mapping. The file of a mapping is
                written into the study's folder in the store; its plug-ins lie in the working directory.
            overrides: `KEY=VALUE`, as on the command line: `["train.lr=1e-4", "study.seeds=3"]`.
            store: the store's folder, made if it is missing; None: `MTLAB_STORE`, else `./runs`.
            plugins: may the study's plug-ins be imported?

        Raises:
            UserError: anything in the study is wrong.

        """
        opened = Store.open(store_root(store), create=True)
        folder = Path.cwd() if isinstance(study, Mapping) else None
        settings = (overrides,) if isinstance(overrides, str) else tuple(overrides)
        if not isinstance(study, Mapping):
            path = find_study_file(str(study)).absolute()
            make_plan = partial(plan_study, path, settings, plugins=plugins)
            return cls(make_plan().study.name, path, opened, make_plan)
        text = _declared_text(study)  # checks the name
        path = opened.study(str(study["name"])) / DECLARED

        def plan_declared() -> Plan:
            with _written(path, text):  # another mapping of this name may have been written since
                return plan_study(path, settings, plugins=plugins, plugin_folder=folder)

        return cls(plan_declared().study.name, path, opened, plan_declared)

    def __repr__(self) -> str:
        """Show the study with its states."""
        states = self.plan()["state"].value_counts(sort=True).rows()
        return f"<mtlab.Study {self.name}: {', '.join(f'{count} {state}' for state, count in states)}>"

    def plan(self) -> pl.DataFrame:
        """Plan the study as its file is now: one row per run, see `mtlab.frame`, with its state. Starts nothing.

        Of seeds until decided, those that the looks so far ask for.

        Raises:
            UserError: anything in the study is wrong.

        """
        return self.results.runs

    def run(self, *, workers: int | None = None, retries: int = 2, quiet: bool = False, replace: bool = False) -> Study:
        """Run everything that the study asks for and the store lacks; return the study.

        In a notebook the progress is drawn below the cell. Interrupted, it goes on with the next call.

        Args:
            workers: runs at once; None: one per core or GPU.
            retries: further attempts at a run whose worker was killed.
            quiet: print nothing.
            replace: take over the study's name in the store from another file.

        Raises:
            UserError: the study is wrong, cannot be run here, or a run failed; all others are done then.
            KeyboardInterrupt: it was interrupted; workers have written their state.

        """
        say = _say_nothing if quiet else print
        done = execute_study(
            self._make_plan,
            self.store,
            policy=LaunchPolicy(retries=retries),
            view=partial(_make_view, quiet=quiet),
            log=say,
            warn=say,
            workers=workers,
            replace=replace,
        )
        if done.outcome.interrupted:
            raise KeyboardInterrupt
        if done.outcome.exit_code:
            raise UserError("; ".join(line.strip() for line in describe_problems(done, self.store)))
        return self

    @property
    def results(self) -> StudyResults:
        """What has been found so far, read anew: `.report`, `.table`, `.layers`, …, as `mtlab.open_study` gives it.

        It is that of this study with its overrides, whatever else has run under its name.
        """
        return StudyResults(self.store, to_json(asked_plan(self._make_plan(), self.store)[0]))

    def report(self) -> StudyReport:
        """Compare the variants as far as they have run; a notebook shows the table.

        Raises:
            UserError: anything in the study is wrong.

        """
        return self.results.report

    def frame(self) -> pl.DataFrame:
        """Return one row per run with metrics and costs, as `mtlab.frame`."""
        return add_areas(self.store, self.results.runs)

    def layers(self) -> pl.DataFrame:
        """Return what each level contributes to each cross-modal layer, as `mtlab.layers`."""
        return layer_frame(plan_rows(self.store, self.results.plan))

    def figure(self, name: str = "comparison") -> go.Figure:
        """Draw a figure of the report, as the page shows it first; a notebook shows it.

        Args:
            name: as in `mtlab figures STUDY --list`.

        Raises:
            UserError: there is no such figure.

        """
        results, known = self.results, []
        for draw in FIGURES:
            groups = draw(results)
            known += [group.id for group in groups]
            for group in groups:
                if group.id == name:
                    return group.first
        raise UserError(f"no figure {name!r}; {nearest(name, known)}")


def _declared_text(study: Mapping[str, Any]) -> str:
    """Write a study that was declared in Python as the text of a file."""
    name = str(study.get("name", ""))
    if not NAME.fullmatch(name):
        raise UserError(f"the study needs a name of {NAME_RULE}", key="name")
    try:
        return yaml.dump({"kind": "ablation", **study})
    except YAMLError as error:
        problem = f"expected plain mappings, lists, texts and numbers: {one_line(error)}"
        raise UserError(problem, key=name) from None


@contextmanager
def _written(path: Path, text: str) -> Iterator[None]:
    """Write a file, and put the earlier one back if what is done with it fails."""
    before = read_text(path) if path.is_file() else None
    if before != text:
        write_text(path, text)
    try:
        yield
    except BaseException:
        if before is None:
            path.unlink()
        else:
            write_text(path, before)
        raise


def _make_view(*, quiet: bool) -> LaunchView:
    if quiet:
        return SilentView()
    return make_view() if notebook_shell() is None else NotebookView()


def _say_nothing(_: str) -> None:
    pass
