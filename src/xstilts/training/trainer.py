"""The Hugging Face Trainer, with our order of examples and one loss whatever the split of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers.utils
from accelerate.utils import other
from torch.utils.data import DataLoader, Dataset
from transformers.utils import WEIGHTS_NAME
from typing_extensions import override

from xstilts.errors import ConfigError
from xstilts.schema.training import DeepSpeed, Optimization
from xstilts.tasks.features.common import moved
from xstilts.training.batching import MicroBatches
from xstilts.training.inputs import Inputs

# Else the Trainer imports `datasets`, and pandas with it, only to ask whether its data are of that kind. It
# does so while it is imported, so this stands before; transformers' types do not export the name.
transformers.utils.is_datasets_available = lambda: False  # type: ignore[attr-defined]
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

if TYPE_CHECKING:
    from xstilts.models.task_model import TaskModel

LOOKS = 100
"""Entries of the learning curve."""


def arguments(
    hyper: Optimization,
    compute: dict[str, Any],
    *,
    steps: int,
    examples: int,
    seed: int,
    precision: str,
    work: Path,
) -> TrainingArguments:
    """The Trainer's arguments for a training.

    Args:
        compute: the job's `compute`.
        steps: optimizer steps.
        examples: of a rank and step, at most.
        work: directory for what the Trainer writes.
    """
    cpu = compute["device"] == "cpu"
    return TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=examples,
        learning_rate=hyper.learning_rate,
        lr_scheduler_type="constant_with_warmup" if hyper.schedule == "constant" else hyper.schedule,
        warmup_steps=hyper.warmup,
        optim="adamw_torch_fused" if not compute["deepspeed"] else "adamw_torch",
        weight_decay=hyper.weight_decay,
        adam_beta1=hyper.adam_betas[0],
        adam_beta2=hyper.adam_betas[1],
        adam_epsilon=hyper.adam_epsilon,
        max_grad_norm=hyper.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        seed=seed,
        logging_steps=max(1, steps // LOOKS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=_trackers(compute["report_to"]),
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=not cpu,
        ddp_find_unused_parameters=False,
        **_devices(compute, precision),
    )


def _trackers(names: Sequence[str]) -> list[str]:
    """Where the Trainer reports to; `none` for nowhere.

    Raises:
        UserError: its package is not installed.
    """
    packages = {"tensorboard": ("tensorboardX", "tensorboard"), "wandb": ("wandb",)}
    for name in names:
        if not any(map(find_spec, packages[name])):
            remedy = f"pip install {packages[name][0]}, or remove it"
            raise ConfigError("compute.report_to", f"{name} is not installed", remedy)
    return list(names) or ["none"]


def _import_deepspeed_only(wanted: bool) -> None:
    """Keep accelerate from importing DeepSpeed (half a second) to unwrap a model of a job that does not use it."""
    other.is_deepspeed_available = lambda: wanted


def _devices(compute: dict[str, Any], precision: str) -> dict[str, Any]:
    _import_deepspeed_only(bool(compute["deepspeed"]))
    if compute["deepspeed"]:
        from xstilts.training import deepspeed

        deepspeed.join(compute["device"])
        settings = deepspeed.configuration(DeepSpeed.model_validate(compute["deepspeed"]), precision)
        cpu = {"use_cpu": True} if compute["device"] == "cpu" else {}
        return {"deepspeed": settings, "accelerator_config": {"use_configured_state": True}, **cpu}
    if compute["device"] == "cpu":
        return {"use_cpu": True, "ddp_backend": "gloo" if compute["ranks"] > 1 else None}
    return {}


class _Passes(Dataset[list[Any]]):
    """Inputs, looked up by the passes of a step."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def __getitem__(self, examples: list[int]) -> list[Any]:
        return [self._inputs[i] for i in examples]

    def __len__(self) -> int:
        return len(self._inputs)


class TaskTrainer(Trainer):
    """Trains a `TaskModel` on encoded inputs, each step on one task.

    To the Trainer a step is one batch; its forward passes, whose number may differ from step to step, are made here.
    The loss of a step is the sum over its labelled items divided by their number, both over all passes and ranks:
    neither the split of a batch nor its padding changes it.

    Args:
        inputs: all training inputs.
        batches: which of them, and in which order.
    """

    def __init__(
        self,
        model: TaskModel,
        args: TrainingArguments,
        inputs: Inputs,
        batches: MicroBatches,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(model=model, args=args, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        self.task_model = model
        self._inputs, self._batches = inputs, batches
        self._task_sums = TaskLosses(inputs.tasks)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's steps, each a list of forward passes; the whole training is one epoch to the Trainer."""
        return DataLoader(
            _Passes(self._inputs),
            batch_sampler=self._batches,
            collate_fn=lambda passes: [self._inputs.collate(one) for one in passes],
            pin_memory=self.args.dataloader_pin_memory,
        )

    @override
    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """The next step's passes, and the number of labelled items in them, over all ranks.

        They go to the device at once, for the Trainer would wait there for every tensor of every pass.
        """
        passes = [moved(one, device) for one in next(epoch_iterator)]
        return [passes], self._get_num_items_in_batch(passes, device)

    # To the Trainer a batch is one dictionary; here a step's batch is the list of its passes.
    def training_step(  # type: ignore[override]
        self,
        model: torch.nn.Module,
        inputs: list[dict[str, Any]],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The passes of one step, forward and backward; ranks exchange gradients in the last one. Returns the loss."""
        losses = []
        for place, one in enumerate(inputs, start=1):
            last = place == len(inputs)
            self.accelerator.gradient_state._set_sync_gradients(last)  # also DeepSpeed takes its step by it
            together = last or self.is_deepspeed_enabled
            with nullcontext() if together else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, one, num_items_in_batch))
        loss = torch.stack(losses).sum()
        self._task_sums.add(inputs[0]["task"], loss)
        return loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """This pass's part of the step's mean loss, times the ranks, over which gradients are averaged."""
        assert num_items_in_batch is not None
        outputs = model(**inputs)
        loss = outputs["loss"] * (self.args.world_size / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    @cached_property
    def _learnt(self) -> list[torch.nn.Parameter]:
        """All parameters, listed once: to clip, the Trainer would look them up module by module in every step."""
        return list(self.task_model.parameters())

    @override
    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        return self.accelerator.clip_grad_norm_(self._learnt, self.args.max_grad_norm)

    def floating_point_ops(self, _inputs: dict[str, Any]) -> int:
        """None are counted: a step is a list of passes, which the Trainer's estimate does not know."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """An entry of the learning curve, with each task's own loss where there are several."""
        if "loss" in logs and len(self._task_sums.sums) > 1:
            logs = {**logs, **self._task_losses()}
        super().log(logs, start_time)

    def _task_losses(self) -> dict[str, float]:
        """`loss:<task>`: mean over the task's steps since the last entry, for every task that had one."""
        total = self.accelerator.reduce(self._task_sums.sums.to(self.args.device), reduction="mean").tolist()
        counts, seen = self._batches.schedule.counts(self.state.global_step), self._task_sums.steps
        self._task_sums.clear(counts)
        steps = [now - before for now, before in zip(counts, seen, strict=True)]
        found = zip(self._inputs.tasks, total, steps, strict=True)
        return {f"loss:{task}": loss / count for task, loss, count in found if count}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The weights of a state to go on from, as the Trainer reads them back; DeepSpeed has its own files."""
        if self.args.should_save and not self.is_deepspeed_enabled:
            assert output_dir is not None
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            torch.save(self.task_model.state_dict(), Path(output_dir) / WEIGHTS_NAME)

    def losses(self) -> dict[str, Any]:
        """This rank's losses that are not in the learning curve yet."""
        tasks = {"sums": self._task_sums.sums.tolist(), "steps": self._task_sums.steps}
        return {"sum": float(self._tr_loss), "logged": self._globalstep_last_logged, "tasks": tasks}

    def load_losses(self, losses: Mapping[str, Any]) -> None:
        """Take losses back; the Trainer itself forgets them when it goes on from a state."""
        self._tr_loss.fill_(losses["sum"])
        self._globalstep_last_logged = losses["logged"]
        self._task_sums.sums = torch.tensor(losses["tasks"]["sums"], device=self.args.device)
        self._task_sums.steps = losses["tasks"]["steps"]

    def weights(self) -> dict[str, torch.Tensor]:
        """The model's weights by name, whole also where they are sharded; to be called by all ranks."""
        if self.is_deepspeed_enabled and (self.args.bf16 or self.args.fp16):
            from xstilts.training import deepspeed

            return deepspeed.master_weights(self.task_model, self.model_wrapped.optimizer)
        if self.is_deepspeed_enabled:
            return dict(self.accelerator.get_state_dict(self.model_wrapped) or {})
        return self.task_model.state_dict()


class TaskLosses:
    """Each task's losses since the last entry of the learning curve.

    Attributes:
        sums: by task, over its steps.
        steps: how many steps each task had had at the last entry.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._place = {task: k for k, task in enumerate(tasks)}
        self.sums = torch.zeros(len(tasks))
        self.steps = [0] * len(tasks)

    def add(self, task: str, loss: torch.Tensor) -> None:
        """Take one pass's part of a step's loss."""
        if self.sums.device != loss.device:
            self.sums = self.sums.to(loss.device, non_blocking=True)
        self.sums[self._place[task]] += loss

    def clear(self, steps: list[int]) -> None:
        """Begin the next entry."""
        self.sums.zero_()
        self.steps = steps
