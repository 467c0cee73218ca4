import json
import os
import random
import signal
from pathlib import Path

import pytest
from patience import wait_for
from tiny_runs import RunMaker, bytes_of, lines, outcome, start, stopped_at, train_apart

from mtlab.runs import checkpoints
from mtlab.training.worker import train


def killed_until_done(folder: Path, kills: int, training: float, seed: int) -> list[int | None]:
    """Kill the worker at random moments, `kills` times at most, then let it finish; return the exit codes."""
    dice, codes = random.Random(seed), []
    for kill in range(kills):
        process = start(folder)
        wait_for((folder / "lock.json").exists)  # it stays behind when its holder is killed
        process.join(dice.uniform(0, training if kill else training / 2))  # the first surely comes before the end
        process.kill()
        process.join()
        codes.append(process.exitcode)
        if process.exitcode == 0:
            break
    return [*codes, train_apart(folder)]


def resumes_exactly(make_run: RunMaker, kills: int, seed: int) -> None:
    settings = {"train": {"length": {"steps": 40}, "eval_every": 7, "checkpoint_every": 3}}
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    assert train_apart(whole) == 0
    training = json.loads((whole / "result.json").read_text())["cost"]["seconds"]
    codes = killed_until_done(broken, kills, training, seed)
    assert codes[-1] == 0
    assert codes.count(-signal.SIGKILL) >= 1
    assert outcome(broken) == outcome(whole)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_if_undisturbed(make_run: RunMaker) -> None:
    resumes_exactly(make_run, kills=20, seed=0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_keeps_its_state(make_run: RunMaker, number: signal.Signals, code: int) -> None:
    settings = {"train": {"length": {"steps": 40}, "checkpoint_every": 1000}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    train(whole)
    process = start(stopped)
    wait_for(lambda: (stopped / "metrics.jsonl").exists() and lines(stopped, "val/loss"))
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == code
    _, state = checkpoints.load(stopped / "checkpoints" / "last.safetensors")
    assert 8 <= state["step"] < 40
    assert not {"failure.json", "lock.json", "result.json"} & bytes_of(stopped).keys()
    assert train_apart(stopped) == 0
    assert json.loads((stopped / "state.json").read_text())["attempt"] == 2
    assert outcome(stopped) == outcome(whole)


def test_interrupted_before_a_validation_it_validates_after_resuming(make_run: RunMaker) -> None:
    whole, stopped = make_run("whole"), make_run("stopped")
    train(whole)
    assert stopped_at(stopped, 16) == 143
    assert [row["step"] for row in lines(stopped, "val/loss")] == [8]
    assert train(stopped) == 0
    assert outcome(stopped) == outcome(whole)


def test_killed_after_the_validation_of_the_step_at_which_it_was_interrupted_it_keeps_its_steps(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best checkpoint is newer than the last one, and of the same step."""
    settings = {"train": {"eval_every": 3, "checkpoint_every": 1000}}
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    train(whole)
    chosen = json.loads((whole / "result.json").read_text())["best_step"]
    assert chosen > 3
    assert stopped_at(broken, chosen) == 143
    (broken / "checkpoints" / "best.safetensors").write_bytes((whole / "checkpoints" / "best.safetensors").read_bytes())
    assert train(broken) == 0
    assert f"resuming after step {chosen}/30" in capsys.readouterr().out
    assert outcome(broken) == outcome(whole)


def test_a_best_checkpoint_ahead_of_the_last_one_is_chosen_anew(make_run: RunMaker) -> None:
    settings = {"train": {"checkpoint_every": 10}}
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    train(whole)
    chosen = json.loads((whole / "result.json").read_text())["best_step"]
    assert stopped_at(broken, 5) == 143
    (broken / "checkpoints" / "best.safetensors").write_bytes((whole / "checkpoints" / "best.safetensors").read_bytes())
    assert chosen > 5
    assert train(broken) == 0
    assert outcome(broken) == outcome(whole)
