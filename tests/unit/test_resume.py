"""A training that is killed goes on where it was saved, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import SCRIPT, curve, distance, job, record, start, write_data

from xstilts.config import DeepSpeed
from xstilts.errors import StartAgainError, StoppedError, UserError
from xstilts.models.task_model import TaskModel
from xstilts.training import trainer
from xstilts.training.progress import Progress
from xstilts.training.run import train
from xstilts.training.work import Work

BEST = {"checkpoint": "best", "every_steps": 4, "patience": None, "examples": 20}
LONG = {"steps": 14, "selection": BEST}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout, so that random numbers matter."""
    return write_data(tmp_path_factory.mktemp("data"), hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed training whose losses enter the curve every third step."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "LOOKS", 4)
        train(job(data, folder, "tagging", hyper=LONG))
    return folder


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process sent SIGTERM during a step."""
    original = Progress.on_step_end

    def on_step_end(self: Progress, args: Any, state: Any, control: Any, **more: Any) -> None:
        original(self, args, state, control, **more)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "on_step_end", on_step_end)


def assert_same(one: Path, other: Path) -> None:
    assert distance(one, other) == 0
    assert curve(one) == curve(other)
    keys = ("steps", "tokens", "epochs", "selected_step", "dev")
    assert [record(one)[key] for key in keys] == [record(other)[key] for key in keys]


@pytest.mark.parametrize("stops", [(3,), pytest.param((4, 11), marks=pytest.mark.slow), (13,)])
def test_a_stopped_training_goes_on_and_ends_with_the_same_bits(
    data: Path, whole: Path, tmp_path: Path, stops: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LOOKS", 4)
    one = job(data, tmp_path / "out", "tagging", hyper=LONG)
    for step in stops:
        with monkeypatch.context() as patch:
            stop_at(step, patch)
            with pytest.raises(StoppedError, match=f"stopped by SIGTERM at step {step}, which is saved"):
                train(one)
        assert not (tmp_path / "out").exists()
    train(one)
    assert_same(tmp_path / "out", whole)
    assert [attempt["from_step"] for attempt in record(tmp_path / "out")["attempts"]] == [0, *stops]
    assert not Path(one["work"]).exists()


def test_a_signal_at_the_last_step_lets_the_training_end(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LOOKS", 4)
    stop_at(14, monkeypatch)
    train(job(data, tmp_path / "out", "tagging", hyper=LONG))
    assert_same(tmp_path / "out", whole)


def test_patience_is_part_of_the_state(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = {"checkpoint": "best", "every_steps": 2, "patience": 2, "examples": None}
    hyper = {"steps": 30, "warmup": 0, "learning_rate": 1e-30, "selection": selection}
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        with pytest.raises(StoppedError):
            train(job(data, tmp_path / "out", hyper=hyper))
    train(job(data, tmp_path / "out", hyper=hyper))
    assert (record(tmp_path / "out")["steps"], record(tmp_path / "out")["selected_step"]) == (6, 2)


@pytest.mark.slow
def test_the_looks_of_every_rule_are_part_of_the_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper = {"steps": 14, "selection": {**BEST, "also": ["average", "oracle"], "average_of": 3}}
    target_dev = {"t/de": str(data / "tagging-dev.parquet")}
    train(job(data, tmp_path / "whole", "tagging", hyper=hyper, target_dev=target_dev))
    one = job(data, tmp_path / "out", "tagging", hyper=hyper, target_dev=target_dev)
    with monkeypatch.context() as patch:
        stop_at(9, patch)
        with pytest.raises(StoppedError):
            train(one)
    train(one)
    assert record(tmp_path / "out")["also"] == record(tmp_path / "whole")["also"]
    assert distance(*(tmp_path / name / "also" / "average3" for name in ("out", "whole"))) == 0


# --- what is not resumed


def stopped(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    """A job that was stopped at its third step."""
    one = job(data, folder, "tagging", hyper=LONG, **changes)
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(StoppedError):
            train(one)
    return one


@pytest.mark.parametrize(
    "damage", ["truncated", *(pytest.param(other, marks=pytest.mark.slow) for other in ("unfinished", "missing"))]
)
def test_a_state_that_is_not_whole_is_never_read(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(trainer, "LOOKS", 4)
    one = stopped(data, tmp_path / "out", monkeypatch)
    (state,) = Path(one["work"]).glob("state-3-*")
    if damage == "truncated":
        os.truncate(state / "optimizer.pt", (state / "optimizer.pt").stat().st_size // 2)
    elif damage == "unfinished":
        (state / "complete.json").write_text("{", encoding="utf-8")
    else:
        (state / "scheduler.pt").unlink()
    train(one)
    assert_same(tmp_path / "out", whole)
    assert [attempt["from_step"] for attempt in record(tmp_path / "out")["attempts"]] == [0, 0]


def test_a_state_of_other_devices_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stopped(data, tmp_path / "out", monkeypatch)
    (state,) = Path(one["work"]).glob("state-3-*")
    told = json.loads((state / "complete.json").read_text(encoding="utf-8"))
    told["facts"]["shape"]["ranks"] = 2
    (state / "complete.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(UserError, match=r"ran with ranks 2, this one with ranks 1; go back to that, or delete"):
        train(one)


def test_another_micro_batch_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = stopped(data, tmp_path / "out", monkeypatch)
    train({**one, "compute": {**one["compute"], "micro_batch": 2}})
    assert [attempt["from_step"] for attempt in record(tmp_path / "out")["attempts"]] == [0, 3]


# --- out of memory


def small_device(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device on which a pass of more examples does not fit."""
    original = TaskModel.forward

    def forward(self: TaskModel, *arrays: Any, **more: Any) -> dict[str, torch.Tensor]:
        if self.training and len(more["input_ids"]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, *arrays, **more)

    monkeypatch.setattr(TaskModel, "forward", forward)


def test_out_of_memory_halves_the_micro_batch_and_is_recorded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(job(data, tmp_path / "fits", "tagging", compute={"micro_batch": 2}))
    small_device(2, monkeypatch)
    one = job(data, tmp_path / "out", "tagging")
    for size in (8, 4):
        with pytest.raises(StartAgainError, match=f"out of memory with {size} examples in a pass"):
            train(one)
    train(one)
    assert distance(tmp_path / "out", tmp_path / "fits") == 0
    told = record(tmp_path / "out")
    assert told["out_of_memory"] == [8, 4] and told["compute"]["micro_batch"] == 2


def test_no_room_for_one_example_is_a_user_s_to_mend(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_device(0, monkeypatch)
    one = job(data, tmp_path / "out", "tagging", compute={"micro_batch": 1})
    with pytest.raises(StartAgainError):
        train(one)
    with pytest.raises(UserError, match="out of memory with one example in a pass; lower max_length"):
        train(one)
    with pytest.raises(StartAgainError):  # another way to compute is tried
        train({**one, "compute": {**one["compute"], "activation_checkpointing": True}})


# --- one writer


def test_a_training_whose_snakemake_is_gone_saves_and_stops(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = iter([os.getppid()])
    monkeypatch.setattr(os, "getppid", lambda: next(started, 1))
    one = job(data, tmp_path / "out", "tagging", hyper=LONG)
    with pytest.raises(StoppedError, match="stopped by the end of what started it at step 1, which is saved"):
        train(one)
    assert list(Path(one["work"]).glob("state-1-*"))


def test_the_newest_attempt_owns_the_directory(tmp_path: Path) -> None:
    old, new = Work(tmp_path / "work"), Work(tmp_path / "work")
    with old.held():
        assert old.owned()
        (tmp_path / "work" / "owner").write_text(new.token, encoding="utf-8")
        assert not old.owned()
        (old.scratch / "late").mkdir()
        old.commit(old.scratch / "late", 7, {})
    with new.held():
        assert new.owned() and not old.owned()
        state = new.newest()
        assert state is not None and state.step == 7
        for step in (8, 9):
            (new.scratch / "next").mkdir()
            new.commit(new.scratch / "next", step, {})
        assert [path.name for path in (tmp_path / "work").glob("state-*")] == [f"state-9-{new.token}"]


def test_one_that_lost_the_directory_removes_nothing(tmp_path: Path) -> None:
    old, new = Work(tmp_path / "work"), Work(tmp_path / "work")
    with old.held():
        (old.scratch / "first").mkdir()
        old.commit(old.scratch / "first", 1, {})
        (tmp_path / "work" / "owner").write_text(new.token, encoding="utf-8")
        (old.scratch / "second").mkdir()
        old.commit(old.scratch / "second", 2, {})
    assert len(list((tmp_path / "work").glob("state-*"))) == 2


# --- processes

SMALL = """
import torch
from xstilts.models.task_model import TaskModel

original = TaskModel.forward


def forward(self, *arrays, **more):
    if self.training and len(more["input_ids"]) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return original(self, *arrays, **more)


TaskModel.forward = forward
"""


def wait_for_state(one: dict[str, Any], process: subprocess.Popen[str], least: int = 1) -> None:
    """Wait until a state of a step was saved."""
    deadline = time.monotonic() + 120
    while not any(int(p.name.split("-")[1]) >= least for p in Path(one["work"]).glob("state-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


SLOW = {"steps": 400, "selection": {**BEST, "every_steps": 50}}


@pytest.mark.slow
def test_an_orphan_hands_over_to_its_successor(data: Path, tmp_path: Path) -> None:
    train(job(data, tmp_path / "whole", "tagging", hyper=SLOW))
    one = job(data, tmp_path / "out", "tagging", hyper=SLOW, compute={"state_minutes": 0.002})
    orphan = start(tmp_path, one)
    wait_for_state(one, orphan)
    train(one)
    assert orphan.wait(60) == 1
    assert orphan.stderr and "stopped by a newer attempt at step" in orphan.stderr.read()
    assert_same(tmp_path / "out", tmp_path / "whole")
    first, second = record(tmp_path / "out")["attempts"]
    assert first["from_step"] == 0 < second["from_step"]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_out_of_memory_starts_itself_again(data: Path, tmp_path: Path, ranks: int) -> None:
    """Two examples a rank do not fit: one process runs itself again, the launcher all of its ranks."""
    one = job(data, tmp_path / "out", "tagging", compute={"ranks": ranks, "micro_batch": 2})
    assert start(tmp_path, one, SMALL + SCRIPT).wait(240) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    told = record(tmp_path / "out")
    assert told["out_of_memory"] == [2] and told["compute"]["micro_batch"] == 1
    assert len(told["attempts"]) == 2


@pytest.mark.slow
def test_two_ranks_under_zero_go_on_after_any_kill(data: Path, tmp_path: Path) -> None:
    """A worker, the launcher, everything, and a polite SIGTERM, one after the other."""
    stage = DeepSpeed(zero_stage=2).model_dump()
    compute = {"ranks": 2, "micro_batch": 2, "deepspeed": stage, "state_minutes": 0.002}
    one = job(data, tmp_path / "out", "tagging", hyper={**SLOW, "steps": 120}, compute=compute)
    undisturbed = {**one, "output": str(tmp_path / "whole"), "work": str(tmp_path / "whole-work")}
    assert start(tmp_path, undisturbed).wait(240) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    for kill in (kill_worker, kill_launcher, kill_group, terminate):
        process = start(tmp_path, one)
        wait_for_state(one, process)
        kill(process)
        assert process.wait(60) != 0
    assert start(tmp_path, one).wait(240) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    assert_same(tmp_path / "out", tmp_path / "whole")


def workers(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def kill_worker(process: subprocess.Popen[str]) -> None:
    os.kill(workers(process)[-1], signal.SIGKILL)


def kill_launcher(process: subprocess.Popen[str]) -> None:
    """Its ranks must not outlive it."""
    ranks = workers(process)
    process.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()
