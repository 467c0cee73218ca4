"""The protocols of runs and sweeps in every order of their steps, and that the model checker finds known mistakes."""

import pytest
import run_protocol
import sweep_protocol

BOUNDS = {"a kill": (1, 0), "a stall": (0, 1)}


def test_no_order_of_a_runs_steps_loses_doubles_or_tears_its_result() -> None:
    taken: set[str] = set()
    for kills, stalls in BOUNDS.values():
        found = run_protocol.check(same_host=False, kills=kills, stalls=stalls)
        assert found.violation == "", found.trace
        taken |= found.taken
    assert taken == set(run_protocol.CODE), "a transition that never happens describes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("same_host", [True, False])
def test_a_kill_and_a_stall_together_do_not_either(same_host: bool) -> None:
    found = run_protocol.check(same_host=same_host, kills=1, stalls=1)
    assert found.violation == "", found.trace
    never = {"notice"} if same_host else set()  # who takes over has killed the holder
    assert found.taken == set(run_protocol.CODE) - never


@pytest.mark.parametrize("mistake", run_protocol.MISTAKES)
def test_mistakes_in_the_protocol_of_runs_are_found(mistake: str) -> None:
    found = run_protocol.check(same_host=False, kills=0, stalls=1, mistake=mistake)
    assert found.violation.startswith(run_protocol.MISTAKES[mistake]), found
    assert found.trace[-1] in run_protocol.CODE


@pytest.mark.parametrize("one_session", [True, False])
def test_no_order_of_a_trials_steps_loses_or_doubles_it(one_session: bool) -> None:
    found = sweep_protocol.check(one_session=one_session, kills=1, losses=1)
    assert found.violation == "", found.trace
    assert found.taken >= set(sweep_protocol.CODE) - {"give up"}


@pytest.mark.parametrize("mistake", sweep_protocol.MISTAKES)
def test_mistakes_in_the_protocol_of_sweeps_are_found(mistake: str) -> None:
    found = sweep_protocol.check(one_session=False, kills=1, losses=1, mistake=mistake)
    assert found.violation.startswith(("crash", "doubled")), found
