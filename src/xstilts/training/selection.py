"""Which weights of a training are kept; it looks at the English dev part only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from xstilts import files
from xstilts.schema.training import Hyperparameters, Selection
from xstilts.tasks.features import Features
from xstilts.tasks.features.common import Encoded

if TYPE_CHECKING:
    from xstilts.models.task_model import TaskModel
    from xstilts.training.progress import Progress
    from xstilts.training.trainer import TaskTrainer

Criterion = Callable[[Sequence[Any], Sequence[Any]], float]

_BATCH = 32


def criterion(name: str) -> Criterion:
    """`module.function` of `xstilts.metrics`, called with golds and predictions; higher is better."""
    module, function = name.split(".")
    found: Criterion = getattr(importlib.import_module(f"xstilts.metrics.{module}"), function)
    return found


@dataclass(frozen=True)
class Dev:
    """The dev part as a training sees it.

    Attributes:
        rows, encoded: prepared rows and their inputs.
        pad_id: the tokenizer's padding token.
    """

    features: Features
    rows: Sequence[Any]
    encoded: Sequence[Encoded]
    labels: Sequence[str]
    hyper: Hyperparameters
    criterion: Criterion
    pad_id: int

    def score(self, model: TaskModel, device: torch.device) -> float:
        """The criterion of the model's predictions; leaves the model in evaluation mode."""
        results: list[Any] = [None] * len(self.encoded)
        ordered = sorted(range(len(self.encoded)), key=lambda i: int(self.encoded[i]["tokens"]))
        model.eval()
        for start in range(0, len(ordered), _BATCH):
            where = ordered[start : start + _BATCH]
            for i, result in zip(where, self._results(model, device, where), strict=True):
                results[i] = result
        made = self.features.rejoin(results, self.encoded, self.rows, self.labels)
        return self.criterion([one["gold"] for one in made], [one["prediction"] for one in made])

    @torch.inference_mode()
    def _results(self, model: TaskModel, device: torch.device, where: Sequence[int]) -> list[Any]:
        batch = [self.encoded[i] for i in where]
        tensors = {key: value.to(device) for key, value in self.features.collate(batch, self.pad_id).items()}
        del tensors["labels"]
        return self.features.decode(model(**tensors)["logits"], batch, self.hyper)


class Best(TrainerCallback):
    """Looks at dev every so many steps and at the end, keeps the best weights, stops when patience runs out.

    Attributes:
        step, score: of the best look; an equal later one does not replace it.
        trainer: to be set before training.
    """

    trainer: TaskTrainer

    def __init__(self, dev: Dev, selection: Selection, work: Path, progress: Progress) -> None:
        self.step, self.score = 0, float("-inf")
        self._dev, self._selection, self._progress = dev, selection, progress
        self._path = work / "best.safetensors"
        self._looks_since = 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look, if it is time to."""
        if state.global_step % self._selection.every_steps and state.global_step < state.max_steps:
            return
        score = self._agreed(self._dev.score(self.trainer.task_model, args.device), args)
        self._progress.look(state, score)
        self._looks_since += 1
        if score > self.score:
            self.step, self.score, self._looks_since = state.global_step, score, 0
            self._keep(state)
        if self._selection.patience is not None and self._looks_since >= self._selection.patience:
            control.should_training_stop = True

    def _agreed(self, score: float, args: TrainingArguments) -> float:
        """The first rank's score: all must stop at the same step, though a GPU's last digits may differ."""
        if args.world_size == 1:
            return score
        agreed = torch.tensor(score, dtype=torch.float64, device=args.device)
        torch.distributed.broadcast(agreed, 0)
        return float(agreed)

    def _keep(self, state: TrainerState) -> None:
        weights = self.trainer.weights()
        if state.is_world_process_zero:
            with files.atomic(self._path) as path:
                save_file({name: value.detach().cpu().clone() for name, value in weights.items()}, path)

    def state_dict(self) -> dict[str, Any]:
        """The best look so far, and how long ago it was."""
        best = {"step": self.step, "score": self.score} if self.step else {}
        return {**best, "looks_since": self._looks_since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the best look back; its weights are in their place already."""
        self.step, self.score = state.get("step", 0), state.get("score", float("-inf"))
        self._looks_since = state["looks_since"]

    def kept(self) -> list[Path]:
        """The best look's weights."""
        return [self._path] if self.step else []

    def weights(self) -> dict[str, torch.Tensor]:
        """The best look's weights."""
        return load_file(self._path)
