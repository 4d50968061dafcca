"""Which weights of a training are kept; only the oracle looks at more than the English dev part."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from xstilts import files
from xstilts.schema.training import Hyperparameters, Rule, Selection
from xstilts.tasks.features import Features
from xstilts.tasks.features.common import Encoded, moved

if TYPE_CHECKING:
    from xstilts.models.task_model import TaskModel
    from xstilts.training.progress import Progress
    from xstilts.training.trainer import TaskTrainer

    Judge = Callable[[TaskModel, torch.device], float]

Criterion = Callable[[Sequence[Any], Sequence[Any]], float]
Weights = dict[str, torch.Tensor]

ENGLISH = "en"

_BATCH = 32


def criterion(name: str) -> Criterion:
    """`module.function` of `xstilts.metrics`, called with golds and predictions; higher is better."""
    module, function = name.split(".")
    found: Criterion = getattr(importlib.import_module(f"xstilts.metrics.{module}"), function)
    return found


@dataclass(frozen=True)
class Dev:
    """The dev part of a task as a training sees it.

    Attributes:
        task: whose head predicts.
        rows, encoded: prepared rows and their inputs.
        pad_id: the tokenizer's padding token.
    """

    task: str
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
        inputs = moved(self.features.collate(batch, self.pad_id), device)
        del inputs["labels"]
        return self.features.decode(model(**inputs, task=self.task)["logits"], batch, self.hyper)


def mean_of(devs: Sequence[Dev]) -> Judge:
    """The mean of the tasks' criteria, each counting the same, as in jiant."""
    return lambda model, device: sum(dev.score(model, device) for dev in devs) / len(devs)


@dataclass(frozen=True)
class Look:
    """A look at dev: the optimizer step and the score."""

    step: int
    score: float


class Looks(TrainerCallback):
    """Every so many steps and at the end, looks at dev and keeps the weights that a rule may want.

    An equal later look does not replace the best one. Training stops when patience runs out, if the best checkpoint is
    the one that counts: other rules that are asked for change nothing in it.

    Args:
        judges: ENGLISH, or `target/language` for the oracle: the score of a model on that dev part.
        scratch: directory for weights.

    Attributes:
        best: by judge.
        recent: steps of the looks whose weights are averaged.
        trainer: to be set before training.
    """

    trainer: TaskTrainer

    def __init__(self, judges: Mapping[str, Judge], selection: Selection, scratch: Path, progress: Progress) -> None:
        self.best: dict[str, Look] = {}
        self.recent: list[int] = []
        self._judges, self._selection, self._scratch, self._progress = judges, selection, scratch, progress

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look, if it is time to."""
        step = state.global_step
        if step % self._selection.every_steps and step < state.max_steps:
            return
        scores = {name: judge(self.trainer.task_model, args.device) for name, judge in self._judges.items()}
        for name, score in _agreed(scores, args).items():
            if name == ENGLISH:
                self._progress.look(state, score)
                self._tell(score, control)
            if name not in self.best or score > self.best[name].score:
                self.best[name] = Look(step, score)
        if "average" in self._selection.rules:
            self.recent = [*self.recent, step][-self._selection.average_of :]
        self._keep(state)
        if self._out_of_patience(step):
            control.should_training_stop = True

    def _tell(self, score: float, control: TrainerControl) -> None:
        """Tell trackers; the Trainer takes any log for the entry of the step's loss, which is still to come."""
        entry = control.should_log
        self.trainer.log({"dev": score})
        control.should_log = entry

    def _out_of_patience(self, step: int) -> bool:
        chosen = self._selection
        if chosen.checkpoint != "best" or chosen.patience is None:
            return False
        return step - self.best[ENGLISH].step >= chosen.patience * chosen.every_steps

    def _keep(self, state: TrainerState) -> None:
        """Write the weights if they are wanted, and remove those that no longer are."""
        wanted = {self._path(step) for step in self._wanted()}
        weights = self.trainer.weights() if state.global_step in self._wanted() else None
        if not state.is_world_process_zero:
            return
        if weights is not None:
            with files.atomic(self._path(state.global_step)) as path:
                save_file({name: value.detach().cpu().clone() for name, value in weights.items()}, path)
        for path in set(self._scratch.glob("look-*.safetensors")) - wanted:
            path.unlink()

    def _wanted(self) -> set[int]:
        return {look.step for look in self.best.values()} | set(self.recent)

    def _path(self, step: int) -> Path:
        return self._scratch / f"look-{step}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        """The best looks and the recent ones."""
        return {"best": {name: [look.step, look.score] for name, look in self.best.items()}, "recent": self.recent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the looks back; their weights are in their place already."""
        self.best = {name: Look(*look) for name, look in state["best"].items()}
        self.recent = list(state["recent"])

    def kept(self) -> list[Path]:
        """The weights that a rule may want."""
        return [self._path(step) for step in sorted(self._wanted())]

    def at(self, step: int) -> Weights:
        """The weights of a look."""
        return load_file(self._path(step))

    def averaged(self) -> Weights:
        """The mean of the recent looks' weights, summed in float64."""
        sums: Weights = {}
        for step in self.recent:
            weights = self.at(step)
            sums = {name: sums.get(name, 0) + value.double() for name, value in weights.items()}
        return {name: (sums[name] / len(self.recent)).to(value.dtype) for name, value in weights.items()}


@dataclass(frozen=True)
class Chosen:
    """What the rules have chosen of a finished training.

    Attributes:
        looks: None where `last` is the only rule.
        last: the weights at the end; empty where no rule wants them.
        steps: of the training.
    """

    selection: Selection
    looks: Looks | None
    last: Weights
    steps: int

    def weights(self, rule: Rule) -> Weights:
        """The weights of a rule other than the oracle."""
        if rule == "last" or self.looks is None:
            return self.last
        return self.looks.averaged() if rule == "average" else self.at(self.looks.best[ENGLISH].step)

    def at(self, step: int) -> Weights:
        """The weights of a look."""
        assert self.looks is not None
        return self.looks.at(step)

    def oracle(self) -> dict[str, Look]:
        """The oracle's looks, by `target/language`."""
        return {part: look for part, look in self.looks.best.items() if part != ENGLISH} if self.looks else {}

    def facts(self, rule: Rule) -> dict[str, Any]:
        """What the record says of a rule's checkpoint: its step, or steps, and its score on English dev."""
        if rule == "best" and self.looks:
            look = self.looks.best[ENGLISH]
            return {"selected_step": look.step, "dev": look.score}
        averaged = {"averaged_steps": self.looks.recent} if rule == "average" and self.looks else {}
        return {"selected_step": self.steps, "dev": None, **averaged}


def _agreed(scores: dict[str, float], args: TrainingArguments) -> dict[str, float]:
    """The first rank's scores: all must keep and stop at the same step, though a GPU's last digits may differ."""
    if args.world_size == 1 or not scores:
        return scores
    agreed = torch.tensor(list(scores.values()), dtype=torch.float64, device=args.device)
    torch.distributed.broadcast(agreed, 0)
    return dict(zip(scores, agreed.tolist(), strict=True))
