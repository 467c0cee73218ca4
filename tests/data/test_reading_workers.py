"""Processes that read shards, and signals."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import pytest

from mtlab.data.shards.streaming.workers import run_in_workers


def numbers(worker: int, workers: int) -> Iterator[int]:
    yield from range(worker, 40, workers)


def readers() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


def test_they_read_on_where_a_whole_process_group_is_asked_to_stop() -> None:
    before = {*readers()}
    items = run_in_workers(numbers, 2)
    assert next(items) == 0
    for reader in {*readers()} - before:
        os.kill(reader, signal.SIGINT)
        os.kill(reader, signal.SIGTERM)
    assert list(items) == [*range(1, 40)]
    assert {*readers()} == before


def test_they_may_be_asked_as_soon_as_they_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = [], BaseProcess.start

    def start_and_ask(reader: BaseProcess) -> None:
        start(reader)
        assert reader.pid is not None
        started.append(reader.pid)
        os.kill(reader.pid, signal.SIGTERM)

    monkeypatch.setattr(BaseProcess, "start", start_and_ask)
    assert list(run_in_workers(numbers, 2)) == [*range(40)]
    assert len(started) == 2


def test_one_that_is_killed_is_noticed() -> None:
    before = {*readers()}
    items = run_in_workers(numbers, 1)
    assert next(items) == 0
    (reader,) = {*readers()} - before

    def kill() -> list[int]:
        os.kill(reader, signal.SIGKILL)
        return list(items)

    with pytest.raises(RuntimeError, match="DataLoader worker"):
        kill()
