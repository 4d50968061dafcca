"""One training, of an intermediate (phase 2) or a train set (phase 3), from a checkpoint to a checkpoint."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import torch

from xstilts import files, provenance
from xstilts.errors import ConfigError, DataError, StoppedError, UserError
from xstilts.models import checkpoint
from xstilts.models.encoder import check_length
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel
from xstilts.schema.training import Hyperparameters, Rule
from xstilts.tasks import features
from xstilts.training import room
from xstilts.training.batching import Limits, MicroBatches, Order
from xstilts.training.progress import Progress
from xstilts.training.resume import Keeper, Part, token
from xstilts.training.selection import ENGLISH, Chosen, Dev, Looks, Weights, criterion
from xstilts.training.steps import split, total_steps
from xstilts.training.trainer import TaskTrainer, arguments
from xstilts.training.watch import Watch
from xstilts.training.work import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, TrainerCallback

    from xstilts.tasks.features import Features
    from xstilts.tasks.features.common import Encoded


def train(job: dict[str, Any]) -> None:
    """Train a fresh head and the encoder below it, and publish them as a checkpoint directory.

    Runs as one process or, under torchrun, as one of `compute.ranks`; the first rank writes. The directory opens with
    AutoModel and holds head.safetensors, head.json, log.jsonl (the learning curve) and record.json, written last; under
    `also/<variant>/` the checkpoints of further rules, likewise. On a CPU the same job gives the same bits.

    Args:
        job: a TrainJob: name, digest, plan, phase, task, kind, labels, criterion, hyper, backbone, seed, precision,
            checkpoint, train, dev, target_dev (`target/language`: path; for the oracle), compute, output, work.

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
    hyper = Hyperparameters.model_validate(job["hyper"])
    start = Path(job["checkpoint"])
    tokenizer = checkpoint.load_tokenizer(start)
    part = _training_part(job, hyper, tokenizer)
    model = _model(job, hyper, start, part.labels)
    run = _Run(job, hyper, tokenizer, part, model, work, started)
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


@dataclass(frozen=True)
class _Part:
    """The training part: inputs, the number of their rows, and the head's labels."""

    features: Features
    encoded: Sequence[Encoded]
    rows: int
    labels: list[str]


def _training_part(job: dict[str, Any], hyper: Hyperparameters, tokenizer: PreTrainedTokenizerFast) -> _Part:
    kind, rows = features.of(job["kind"]), _rows(job["train"], "train")
    found = kind.labels(rows)
    labels = list(job["labels"]) or found
    if strange := sorted(set(found) - set(labels)):
        problem = f"label {strange[0]!r} is none of the task's ({', '.join(labels)})"
        raise DataError(job["train"][0], problem, "correct the data, or map the label in the dataset's config")
    return _Part(kind, kind.encode(rows, tokenizer, hyper, labels), len(rows), labels)


def _rows(paths: Sequence[str], split_name: str) -> list[Any]:
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    if not rows:
        where = ", ".join(paths) or "no file"
        raise UserError(f"{where}: the {split_name} part has no rows; check the dataset's source and limits")
    return rows


def _first_of_each(paths: Sequence[str], examples: int | None) -> list[Any]:
    """The first dev examples, as many from each of a task's datasets (ANLI+ has five), or all of them."""
    if examples is None or not paths:
        return _rows(paths, "dev")
    return [row for path in paths for row in _rows([path], "dev")[: math.ceil(examples / len(paths))]]


def _model(job: dict[str, Any], hyper: Hyperparameters, start: Path, labels: Sequence[str]) -> TaskModel:
    encoder = checkpoint.load_encoder(start)
    if job["compute"]["activation_checkpointing"]:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
    check_length(encoder.config, hyper.max_length, f"recipe.{job['phase']}.{job['task']}.max_length")
    model = TaskModel(encoder, [HeadSpec(job["task"], job["kind"], tuple(labels), job["backbone"]["pooling"])])
    if not model.packed:
        kind = encoder.config.model_type
        print(f"{job['name']}: {kind} computes with padding, in passes of like lengths", file=sys.stderr)
    return model


def _limits(batch: int, compute: dict[str, Any], packed: bool) -> Limits:
    """What a forward pass may hold; a GPU wastes more on a small pass than a CPU."""
    micro = split(batch, compute["ranks"], compute["micro_batch"])[0]
    return Limits(micro, compute["micro_tokens"], packed, pass_cost=100 if compute["device"] == "cpu" else 2000)


class _Run:
    """A training that is set up."""

    def __init__(
        self,
        job: dict[str, Any],
        hyper: Hyperparameters,
        tokenizer: PreTrainedTokenizerFast,
        part: _Part,
        model: TaskModel,
        work: Work,
        started: float,
    ) -> None:
        self._job, self._hyper, self._tokenizer, self._part, self._work = job, hyper, tokenizer, part, work
        self._started = started
        compute, steps = job["compute"], total_steps(len(part.encoded), hyper)
        args = arguments(hyper, compute, steps=steps, seed=job["seed"], precision=job["precision"], work=work.scratch)
        args.run_name = job["name"]
        os.environ["TENSORBOARD_LOGGING_DIR"] = job["tensorboard"]
        self._batches = MicroBatches(
            lengths=[encoded["tokens"] for encoded in part.encoded],
            order=Order(len(part.encoded), job["seed"]),
            steps=steps,
            batch=hyper.batch,
            limits=_limits(hyper.batch, compute, model.packed),
            ranks=args.world_size,
            rank=args.process_index,
        )
        self._progress = Progress(job["name"], self._batches)
        self._looks = self._selection()
        looks = {"looks": self._looks} if self._looks else {}
        parts: dict[str, Part] = {"progress": self._progress, **looks}
        shape = {key: compute[key] for key in ("device", "ranks", "deepspeed")}
        watch = Watch(work, compute["state_minutes"], first=args.process_index == 0)
        self._keeper = Keeper(work, watch, shape, parts, started)
        callbacks: list[TrainerCallback] = [self._progress, *looks.values(), self._keeper]
        self.trainer = TaskTrainer(model, args, part.encoded, self._collate, self._batches, callbacks)
        self._keeper.trainer = self.trainer
        if self._looks:
            self._looks.trainer = self.trainer

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

    def _collate(self, batch: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        return self._part.features.collate(batch, self._tokenizer.pad_token_id)

    def _selection(self) -> Looks | None:
        chosen = self._hyper.selection
        if chosen.rules == ("last",):
            return None
        parts = {ENGLISH: self._job["dev"]} if "best" in chosen.rules else {}
        parts |= {name: [path] for name, path in self._job["target_dev"].items()}
        return Looks(
            {name: self._dev(paths).score for name, paths in parts.items()}, chosen, self._work.scratch, self._progress
        )

    def _dev(self, paths: Sequence[str]) -> Dev:
        rows, kind = _first_of_each(paths, self._hyper.selection.examples), self._part.features
        encoded = kind.encode(rows, self._tokenizer, self._hyper, self._part.labels)
        measure, pad = criterion(self._job["criterion"]), self._tokenizer.pad_token_id
        return Dev(kind, rows, encoded, self._part.labels, self._hyper, measure, pad)

    def finish(self) -> None:
        """Publish the selected weights; to be called by all ranks, for they may have to gather them.

        Raises:
            StoppedError: a newer attempt has taken over, and will publish.
        """
        selection = self._hyper.selection
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
                "rows": self._part.rows,
                "encoded": len(self._part.encoded),
                "steps": chosen.steps,
                "epochs": round(chosen.steps * self._hyper.batch / len(self._part.encoded), 4),
                "tokens": self._batches.tokens(chosen.steps),
                **chosen.facts(rule),
                "also": also,
                "wall_seconds": round(self._keeper.seconds, 3),
                "attempts": self._work.attempts(),
                "out_of_memory": room.failed(self._job, self._work),
            }
            files.write_json(staging / files.RECORD, provenance.record(self._job, self._started, **measured))

    def _save(self, weights: Weights, directory: Path) -> None:
        checkpoint.save(self.trainer.task_model, weights, self._job["task"], self._tokenizer, directory)

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
