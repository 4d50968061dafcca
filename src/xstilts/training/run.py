"""One training, of an intermediate (phase 2) or a train set (phase 3), from a checkpoint to a checkpoint."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xstilts import files, provenance
from xstilts.errors import ConfigError, StoppedError
from xstilts.models import checkpoint
from xstilts.models.encoder import check_length
from xstilts.models.task_model import TaskModel
from xstilts.schema.arms import MLM
from xstilts.schema.training import Optimization, Rule
from xstilts.tasks.features.tokens import Recipe
from xstilts.training import mixing, room
from xstilts.training.batching import Limits, MicroBatches
from xstilts.training.inputs import Inputs, TaskData
from xstilts.training.mixing import Mix
from xstilts.training.progress import Progress
from xstilts.training.resume import Keeper, Part, token
from xstilts.training.selection import ENGLISH, Chosen, Dev, Looks, Weights, criterion, mean_of
from xstilts.training.steps import fitting, split
from xstilts.training.trainer import TaskTrainer, arguments
from xstilts.training.watch import Watch
from xstilts.training.work import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, TrainerCallback, TrainingArguments


def train(job: dict[str, Any]) -> None:
    """Train a fresh head and the encoder below it, and publish them as a checkpoint directory.

    Runs as one process or, under torchrun, as one of `compute.ranks`; the first rank writes. The directory opens with
    AutoModel and holds head.safetensors, head.json, log.jsonl (the learning curve) and record.json, written last; under
    `also/<variant>/` the checkpoints of further rules, likewise. On a CPU the same job gives the same bits.

    Args:
        job: a TrainJob: name, digest, plan, phase, hyper, backbone, seed, precision, checkpoint, compute, output, work;
            and task, kind, labels, criterion, train, dev, target_dev (`target/language`: path; for the oracle), or of
            several tasks `mixture` and under `tasks` the same of each, with its own `hyper` (the job's holds for all).
            The task `mlm` has `text` besides. `shuffled` puts labels in random order; `mlm_only` takes the other
            tasks' steps for MLM.

    Raises:
        UserError: something in the job or its files that a user can mend.
    """
    started = time.time()
    _prepare_process(job["compute"], job["precision"], job["seed"])
    work = Work(Path(job["work"]), token())
    job = room.fitted(job, work)
    with work.held() if _first_rank() else nullcontext():
        try:
            _train(job, work, started)
        except RuntimeError as error:
            raise room.reduced(error, job, work) or error from None
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _train(job: dict[str, Any], work: Work, started: float) -> None:
    start = Path(job["checkpoint"])
    tokenizer = checkpoint.load_tokenizer(start)
    mix = mixing.prepare(job, tokenizer)
    run = _Run(job, tokenizer, mix, _model(job, start, mix), work, started)
    run.train()
    run.finish()


def _first_rank() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _prepare_process(compute: dict[str, Any], precision: str, seed: int) -> None:
    """Threads, determinism and seed, and only the devices that the job has; before anything computes."""
    cpu, ranks = compute["device"] == "cpu", int(os.environ.get("WORLD_SIZE", "1"))
    if ranks != compute["ranks"]:
        problem = f"{compute['ranks']} ranks, but {ranks} process(es) were started"
        raise ConfigError(
            "compute.ranks", problem, "start the script with xstilts.training.launch, one process per rank"
        )
    _hide_devices(cpu, ranks)
    torch.set_num_threads(compute["threads"])
    if not cpu:
        _check_devices(ranks)
    if cpu and precision == "fp16":
        raise ConfigError("compute.precision", "a CPU cannot train in fp16", "use bf16 or fp32")
    torch.use_deterministic_algorithms(cpu)
    # Filling fresh memory costs time and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def _check_devices(ranks: int) -> None:
    visible = torch.cuda.device_count()
    if not visible:
        raise ConfigError("compute.device", "no GPU is visible", "ask the scheduler for one, or set it to cpu")
    if visible < ranks:
        problem = f"{ranks} ranks, but {visible} GPU(s) are visible"
        raise ConfigError("compute.ranks", problem, f"ask the scheduler for {ranks} GPUs, or set it to {visible}")


def _hide_devices(cpu: bool, ranks: int) -> None:
    """Show no GPU to a CPU job, and one to a lone process, which would be spread over several (nn.DataParallel)."""
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif ranks == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _model(job: dict[str, Any], start: Path, mix: Mix) -> TaskModel:
    encoder = checkpoint.load_encoder(start)
    if job["compute"]["activation_checkpointing"]:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
    for data in mix.tasks:
        check_length(encoder.config, data.hyper.max_length, f"recipe.{job['phase']}.{data.task}.max_length")
    model = TaskModel(encoder, [data.head(job["backbone"]["pooling"]) for data in mix.tasks])
    _take_masked_lm_head(job, model, start)
    if not model.packed:
        kind = encoder.config.model_type
        print(f"{job['name']}: {kind} computes with padding, in passes of like lengths", file=sys.stderr)
    return model


def _take_masked_lm_head(job: dict[str, Any], model: TaskModel, start: Path) -> None:
    """MLM goes on with the head that the backbone was pretrained with, unless a fresh one is wanted."""
    part = next((part for part in mixing.parts(job) if part["task"] == MLM), None)
    if part is None:
        return
    masked_lm = importlib.import_module("xstilts.models.masked_lm")
    masked_lm.check(model.encoder.config, start)
    if part["text"]["head"] == "backbone":
        masked_lm.load(model.heads[MLM], start)


def _limits(batches: Sequence[int], compute: dict[str, Any], packed: bool) -> Limits:
    """What a forward pass may hold; a GPU wastes more on a small pass than a CPU."""
    # Once memory has halved it, the limit divides the largest of several batches, perhaps not the others.
    micro = max(fitting(batch, compute["ranks"], compute["micro_batch"]) for batch in batches)
    if len(batches) == 1:
        micro = split(batches[0], compute["ranks"], compute["micro_batch"])[0]
    return Limits(micro, compute["micro_tokens"], packed, pass_cost=100 if compute["device"] == "cpu" else 2000)


class _Run:
    """A training that is set up."""

    def __init__(
        self,
        job: dict[str, Any],
        tokenizer: PreTrainedTokenizerFast,
        mix: Mix,
        model: TaskModel,
        work: Work,
        started: float,
    ) -> None:
        self._job, self._tokenizer, self._mix, self._work, self._started = job, tokenizer, mix, work, started
        common = {key: value for key, value in job["hyper"].items() if key in Optimization.model_fields}
        self._optimization = Optimization.model_validate(common)
        inputs, compute = Inputs(mix.tasks, tokenizer.pad_token_id), job["compute"]
        self._batches = self._micro_batches(inputs, model.packed)
        self._progress = Progress(job["name"], self._batches)
        self._looks = self._selection()
        looks = {"looks": self._looks} if self._looks else {}
        parts: dict[str, Part] = {"progress": self._progress, **looks}
        shape = {key: compute[key] for key in ("device", "ranks", "deepspeed")}
        watch = Watch(work, compute["state_minutes"], first=_first_rank())
        self._keeper = Keeper(work, watch, shape, parts, started)
        callbacks: list[TrainerCallback] = [self._progress, *looks.values(), self._keeper]
        self.trainer = TaskTrainer(model, self._arguments(), inputs, self._batches, callbacks)
        self._keeper.trainer = self.trainer
        if self._looks:
            self._looks.trainer = self.trainer

    def _micro_batches(self, inputs: Inputs, packed: bool) -> MicroBatches:
        compute, batches = self._job["compute"], [data.hyper.batch for data in self._mix.tasks]
        return MicroBatches(
            inputs.lengths(),
            self._mix.schedule,
            _limits(batches, compute, packed),
            ranks=compute["ranks"],
            rank=int(os.environ.get("RANK", "0")),
        )

    def _arguments(self) -> TrainingArguments:
        os.environ["TENSORBOARD_LOGGING_DIR"] = self._job["tensorboard"]
        made = arguments(
            self._optimization,
            self._job["compute"],
            steps=self._mix.schedule.steps,
            examples=max(self._mix.schedule.batches) // self._job["compute"]["ranks"],
            seed=self._job["seed"],
            precision=self._job["precision"],
            work=self._work.scratch,
        )
        made.run_name = self._job["name"]
        return made

    def train(self) -> None:
        """Train to the end, from where an earlier attempt stopped if there was one.

        Raises:
            StoppedError: a signal or a newer attempt stopped it; its state is saved.
        """
        state = self._keeper.find(self.trainer.args)
        if self.trainer.is_world_process_zero():
            self._work.began(from_step=self._keeper.step, ranks=self.trainer.args.world_size)
        with self._keeper.watch.listening():
            self.trainer.train(resume_from_checkpoint=state)

    def _selection(self) -> Looks | None:
        chosen, told = self._optimization.selection, mixing.parts(self._job)
        if chosen.rules == ("last",):
            return None
        data = {one.task: one for one in self._mix.tasks}
        english = [self._dev(part, data[part["task"]], part["dev"]) for part in told if part["criterion"]]
        judges = {ENGLISH: mean_of(english)} if "best" in chosen.rules else {}
        for part in told:
            for name, path in part.get("target_dev", {}).items():
                judges[name] = self._dev(part, data[part["task"]], [path]).score
        return Looks(judges, chosen, self._work.scratch, self._progress)

    def _dev(self, part: dict[str, Any], data: TaskData, paths: Sequence[str]) -> Dev:
        made = Recipe(data.kind, tuple(map(Path, paths)), self._tokenizer, data.hyper, tuple(data.labels))
        threads, examples = self._job["compute"]["threads"], self._optimization.selection.examples
        rows, encoded = mixing.dev(made, Path(self._job["tokens"]), threads, examples)
        measure, pad = criterion(part["criterion"]), self._tokenizer.pad_token_id
        return Dev(data.task, data.features, rows, encoded, data.labels, data.hyper, measure, pad)

    def finish(self) -> None:
        """Publish the selected weights; to be called by all ranks, for they may have to gather them.

        Raises:
            StoppedError: a newer attempt has taken over, and will publish.
        """
        selection = self._optimization.selection
        last = self.trainer.weights() if "last" in selection.rules else {}
        if not self.trainer.is_world_process_zero():
            return
        if not self._work.owned():
            raise StoppedError("a newer attempt has taken over")
        self._publish(Chosen(selection, self._looks, last, self.trainer.state.global_step))
        self._work.remove()

    def _publish(self, chosen: Chosen) -> None:
        rule, *others = chosen.selection.rules
        with files.staged(Path(self._job["output"])) as staging:
            self._save(chosen.weights(rule), staging)
            folders = {other: staging / checkpoint.ALSO / chosen.selection.variant(other) for other in others}
            also = {folder.name: self._publish_also(other, chosen, folder) for other, folder in folders.items()}
            lines = (json.dumps(entry) + "\n" for entry in self._progress.curve)
            files.write_text(staging / "log.jsonl", "".join(lines))
            measured = {
                **self._mix.measured(self._batches, chosen.steps),
                "steps": chosen.steps,
                "tokens": self._batches.tokens(chosen.steps),
                **chosen.facts(rule),
                "also": also,
                "wall_seconds": round(self._keeper.seconds, 3),
                "attempts": self._work.attempts(),
                "out_of_memory": room.failed(self._job, self._work),
            }
            files.write_json(staging / files.RECORD, provenance.record(self._job, self._started, **measured))

    def _save(self, weights: Weights, directory: Path) -> None:
        checkpoint.save(self.trainer.task_model, weights, self._tokenizer, directory)

    def _publish_also(self, rule: Rule, chosen: Chosen, folder: Path) -> Any:
        """Write the checkpoint of a further rule, the oracle's being several; returns what the record says of it."""
        if rule != "oracle":
            self._save(chosen.weights(rule), folder)
            return chosen.facts(rule)
        looks = chosen.oracle()
        for step in {look.step for look in looks.values()}:
            self._save(chosen.at(step), folder / f"step-{step}")
        files.write_json(folder / checkpoint.CHOICE, {part: f"step-{look.step}" for part, look in looks.items()})
        return {part: {"selected_step": look.step, "dev": look.score} for part, look in looks.items()}
