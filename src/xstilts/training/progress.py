"""What a training tells its user: a bar with the time left on a terminal, lines in a log, the learning curve."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from xstilts.errors import UserError
from xstilts.job import terminal
from xstilts.training.batching import MicroBatches

_BETWEEN_LINES = 10.0  # seconds


class Progress(TrainerCallback):
    """Follows a training.

    Args:
        name: the job's name, shown beside the bar.
        batches: counts the tokens seen.

    Attributes:
        curve: entries of `step`, `loss` (mean over the steps since the last entry), `learning_rate`, `tokens` and, but
            for ZeRO stage 0, `grad_norm` (before clipping); of each of several tasks `loss:<task>`. Or `step`, `dev`
            for a look at the dev part.
    """

    def __init__(self, name: str, batches: MicroBatches) -> None:
        self.curve: list[dict[str, Any]] = []
        self._name, self._batches = name, batches
        self._bar: Any = None
        self._said = 0.0

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        stream = _stream()
        hidden = stream is None or not state.is_world_process_zero
        done = state.global_step
        self._bar = tqdm(
            total=state.max_steps, initial=done, desc=self._name, file=stream, disable=hidden, mininterval=0.5
        )

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Move the bar."""
        self._bar.update()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        self._bar.close()

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take an entry of the learning curve.

        Raises:
            UserError: the loss is not a number any more.
        """
        logs = kwargs["logs"]
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            remedy = "lower the learning rate, or train in bf16 or fp32"
            raise UserError(f"the loss is {logs['loss']} at step {state.global_step}; {remedy}")
        known = {key: logs[key] for key in ("loss", "learning_rate", "grad_norm") if key in logs}
        known |= {key: value for key, value in logs.items() if key.startswith("loss:")}
        self.curve.append({"step": state.global_step, **known, "tokens": self._batches.tokens(state.global_step)})
        self._say(state, f"loss {logs['loss']:.4f}")

    def state_dict(self) -> dict[str, Any]:
        """The learning curve so far."""
        return {"curve": self.curve}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the learning curve back."""
        self.curve[:] = state["curve"]

    def kept(self) -> list[Path]:
        """No files belong to it."""
        return []

    def look(self, state: TrainerState, score: float) -> None:
        """Take the score of a look at the dev part."""
        self.curve.append({"step": state.global_step, "dev": score})
        self._said = 0.0
        self._say(state, f"dev {score:.2f}")

    def _say(self, state: TrainerState, text: str) -> None:
        now = time.monotonic()
        if not state.is_world_process_zero or now - self._said < _BETWEEN_LINES:
            return
        self._said = now
        self._bar.set_postfix_str(text, refresh=False)
        if _stream() is not sys.stderr:
            print(f"{self._name}: step {state.global_step}/{state.max_steps} {text}", file=sys.stderr, flush=True)


def _stream() -> TextIO | None:
    """Where a bar can be seen, if anywhere."""
    return terminal() or (sys.stderr if sys.stderr.isatty() else None)
