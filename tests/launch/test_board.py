"""The state of a launch in memory."""

from pathlib import Path

from mtlab import files
from mtlab.launch.board import make_job
from mtlab.launch.exit_status import ExitStatus, classify_exit
from mtlab.processes import EXIT_DISK, EXIT_PEER_LOST
from mtlab.runs.store import Store

RUN = {"id": "aaa/s0", "cell": "aaa", "seed": 0, "label": "a", "parents": []}
OLD = {"kind": "oom", "error": "out of memory", "where": None, "trace": "", "attempt": 1}


def test_the_failure_of_an_earlier_attempt_is_none_of_this_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    folder = store.run("aaa/s0")
    folder.mkdir(parents=True)
    files.write_json(folder / "failure.json", OLD)
    job = make_job(store, RUN)
    refused = classify_exit(ExitStatus(EXIT_DISK), job.new_failure(store), False, 1, folder)
    assert refused is not None
    assert refused.kind == "disk"
    (folder / "failure.json").unlink()
    files.write_json(folder / "failure.json", OLD)  # the same words, of a new attempt
    failed = classify_exit(ExitStatus(3), job.new_failure(store), False, 2, folder)
    assert failed is not None
    assert failed.kind == "oom"
    assert job.new_failure(store) is None
    (folder / "failure.json").unlink()
    files.write_json(folder / "failure.json", OLD)
    ended_by = classify_exit(ExitStatus(128 + 15), job.new_failure(store), False, 3, folder)
    assert ended_by is not None
    assert ended_by.kind == "oom", "SIGTERM came when the failure was written"


def test_where_processes_lost_each_other_the_log_is_named(tmp_path: Path) -> None:
    failure = classify_exit(ExitStatus(EXIT_PEER_LOST), None, False, 1, tmp_path)
    assert str(failure) == "killed: the run's processes lost each other: see log.txt"
