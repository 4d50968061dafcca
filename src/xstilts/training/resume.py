"""Keeps the full state of a training now and then, and when it is asked to stop, so that another attempt goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from xstilts import files
from xstilts.errors import UserError
from xstilts.training.watch import GO_ON, STOP, Watch
from xstilts.training.work import State, Work, keep

if TYPE_CHECKING:
    from xstilts.training.trainer import TaskTrainer

_KEPT = "kept"


class Part(Protocol):
    """Something of a training, besides model, optimizer and random numbers, that an interrupted one needs to go on."""

    def state_dict(self) -> dict[str, Any]:
        """Its state, as plain JSON."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back a state."""

    def kept(self) -> list[Path]:
        """Files of the scratch directory that belong to the state; the first rank's."""


class Keeper(TrainerCallback):
    """Saves states in the work directory; the last of a trainer's callbacks, since it saves what the others did.

    All ranks save and stop at the same step.

    Args:
        watch: says when.
        shape: what a state fits: one saved under another shape is refused.
        parts: by a name of their own.
        started: time.time() at the attempt's start.

    Attributes:
        trainer: to be set before training.
    """

    trainer: TaskTrainer

    def __init__(
        self, work: Work, watch: Watch, shape: dict[str, Any], parts: Mapping[str, Part], started: float
    ) -> None:
        self._work, self.watch, self._shape, self._parts, self._started = work, watch, shape, parts, started
        self._from: State | None = None
        self._stopping = False
        self._group: Any = None

    # --- going on

    def find(self, args: TrainingArguments) -> str | None:
        """Directory of the state to go on from, the same on all ranks; None at the beginning.

        Raises:
            UserError: the state was saved on other ranks or devices.
        """
        self._from = _agreed_state(self._work.newest() if args.process_index == 0 else None, args)
        if self._from is None:
            return None
        if self._from.facts["shape"] != self._shape:
            saved, now = _difference(self._from.facts["shape"], self._shape)
            raise UserError(
                f"{self._from.path}: the interrupted training ran with {saved}, this one with {now}; "
                "go back to that, or delete the directory to begin again"
            )
        return str(self._from.path)

    @property
    def step(self) -> int:
        """The step from which this attempt went on."""
        return self._from.step if self._from else 0

    @property
    def seconds(self) -> float:
        """Seconds of training behind the present state, those of earlier attempts that led to it included."""
        return (self._from.facts["seconds"] if self._from else 0.0) + time.time() - self._started

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the state of the parts back."""
        if args.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo")  # asks for no wait of the GPU
        self.watch.saved()
        if self._from is None:
            return
        if state.is_world_process_zero:
            for path in sorted((self._from.path / _KEPT).glob("*")):
                keep(path, self._work.scratch)
        self._barrier()
        told = json.loads((self._from.path / _name(args)).read_text(encoding="utf-8"))
        self.trainer.load_losses(told.pop("losses"))
        for name, part in self._parts.items():
            part.load_state_dict(told[name])

    # --- saving

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Have the Trainer save, if it is time to; not at the very end, which publishes."""
        wish = self._agreed(self.watch.wish())
        if control.should_training_stop or state.global_step >= state.max_steps:
            return
        control.should_save = wish != GO_ON
        self._stopping = wish == STOP

    def _agreed(self, wish: int) -> int:
        """The strongest wish of all ranks."""
        if self._group is None:
            return wish
        wishes = torch.tensor(wish)
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX, self._group)
        return int(wishes)

    def _barrier(self) -> None:
        if self._group is not None:
            torch.distributed.barrier(self._group)

    @override
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Complete what the Trainer saved, and make it the state to go on from.

        Raises:
            StoppedError: the training was asked to stop.
        """
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        told = {name: part.state_dict() for name, part in self._parts.items()}
        files.write_text(folder / _name(args), json.dumps({"losses": self.trainer.losses(), **told}))
        self._barrier()
        if state.is_world_process_zero:
            for part in self._parts.values():
                for path in part.kept():
                    keep(path, folder / _KEPT)
            self._work.commit(folder, state.global_step, {"shape": self._shape, "seconds": self.seconds})
        self._barrier()
        self.watch.saved()
        if self._stopping:
            raise self.watch.stopped(state.global_step)


def _name(args: TrainingArguments) -> str:
    return f"parts-{args.process_index}.json"


def _agreed_state(state: State | None, args: TrainingArguments) -> State | None:
    """The first rank's choice, on every rank."""
    if args.world_size == 1:
        return state
    choice = [state]
    torch.distributed.broadcast_object_list(choice, 0, device=args.device)
    return choice[0]


def _difference(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """The first thing in which two shapes differ, in words."""
    key = next(key for key in now if saved.get(key) != now[key])
    return f"{key} {saved.get(key)}", f"{key} {now[key]}"


def token() -> str | None:
    """What ranks that were launched together share."""
    return os.environ.get("TORCHELASTIC_RUN_ID")
