"""The contract suite over one registered manager, as data: which rules it keeps, which it breaks and how.

The suite itself is `mtlab.testing.ManagerContract`, which plug-in authors run in their own tests; here pytest runs it
in this process, where the plug-in is registered already.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mtlab.errors import UserError

Verdict = Literal["kept", "broken", "skipped"]
SUITE = """
from mtlab.testing import ManagerContract

class TestContract(ManagerContract):
    manager = {name!r}
"""
Progress = Callable[[int, int], None]  #: cases done, cases in all


@dataclass
class Rule:
    """One rule of the contract, tried with several options and places."""

    test: str  #: name of the test
    says: str  #: the rule itself
    cases: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)  #: case, what went wrong in one line
    skipped: list[str] = field(default_factory=list)  #: reasons

    @property
    def verdict(self) -> Verdict:
        """Broken in any case, else skipped in all, else kept."""
        if self.broken:
            return "broken"
        return "skipped" if self.skipped and len(self.skipped) == self.cases else "kept"


def hold(name: str, progress: Progress | None = None) -> list[Rule]:
    """Hold a registered manager to the contract.

    Raises:
        UserError: no such manager, or pytest is not installed.

    """
    from mtlab.managers.base import MANAGERS

    MANAGERS.get(name)
    try:
        import pytest
    except ModuleNotFoundError:
        raise UserError("the contract suite needs pytest: pip install pytest") from None

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\nmarkers = slow: takes more than a few seconds\n")
        Path(folder, "contract_suite.py").write_text(SUITE.format(name=name))
        collector = _Collector(progress)
        arguments = [f"{folder}/contract_suite.py", "--rootdir", folder, "-c", f"{folder}/pytest.ini"]
        arguments += ["-q", "-k", "not inductor", "--import-mode=importlib", "--basetemp", f"{folder}/tmp"]
        arguments += ["-p", "no:cacheprovider"]
        with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
            pytest.main(arguments, plugins=[collector])
        sys.modules.pop("contract_suite", None)
    if not collector.rules:
        last = printed.getvalue().strip().rpartition("\n")[2]
        raise UserError(f"the contract suite could not be started for manager {name!r}: {last}")
    return list(collector.rules.values())


class _Collector:
    """A pytest plug-in that sorts outcomes by rule."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.rules: dict[str, Rule] = {}
        self.cases = self.done = 0

    def pytest_collection_finish(self, session: Any) -> None:
        """Note the rules, in the suite's order."""
        for item in session.items:
            says = (inspect.getdoc(item.function) or "").partition("\n")[0]
            self.rules.setdefault(item.originalname, Rule(item.originalname, says)).cases += 1
        self.cases = len(session.items)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take in the outcome of one case."""
        test, _, case = report.nodeid.rpartition("::")[2].partition("[")
        rule = self.rules[test]
        if report.failed:
            rule.broken.append((case.rstrip("]"), _line(report)))
        elif report.skipped:
            rule.skipped.append(str(report.longrepr[2]).removeprefix("Skipped: "))
        if report.when == "teardown":
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.cases)


def _line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else str(report.longrepr)).strip().splitlines()
    first = lines[0].removeprefix("AssertionError: ").removeprefix("Failed: ") if lines else "failed"
    apart = next((line for line in lines if line.startswith("Greatest absolute difference")), "")
    return f"{first} {apart}".strip()
