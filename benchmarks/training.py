"""Useful tokens per second in training: ours beside what the Hugging Face Trainer offers, on one model and one machine.

    python benchmarks/training.py [--lengths xnli] [--layers 12] [--repeats 5]
    python benchmarks/training.py --device cuda --precision bf16 --layers 24 --width 1024 --steps 20

Systems take turns, each time in a fresh process, at the same effective batch: every row padded to 128 or 256 tokens
(run_xnli.py's default; jiant's in its XTREME recipe), padding to the longest of the batch, the Trainer's grouping by
length (which changes the order of examples; ours does not), and ours. Lengths are drawn from
src/xstilts/data/lengths.yaml; token ids are random, and every model computes a pair's loss. XLM-R's shape; with fewer
layers the vocabulary shrinks alike, so that embeddings keep their share. Padding is no token. On a CPU ours keeps the
memory that it frees, as its jobs do; to give the Trainer the same, set MALLOC_MMAP_MAX_=0 and
MALLOC_TRIM_THRESHOLD_=9223372036854775807 around the command. The result goes to
benchmarks/results/training-<lengths>-<device>[-processor].json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

import measured
from xstilts.job import keep_freed_memory
from xstilts.models.heads import HeadSpec
from xstilts.models.pooling import Pooling
from xstilts.models.task_model import TaskModel
from xstilts.schema.training import Hyperparameters
from xstilts.tasks import features
from xstilts.tasks.base import Kind
from xstilts.tasks.features import pair
from xstilts.training.batching import Limits, MicroBatches, Order, Schedule
from xstilts.training.inputs import Inputs, TaskData
from xstilts.training.trainer import TaskTrainer, arguments

HERE = Path(__file__).parent
PAD, SPECIALS, POOL = 1, 4, 400  # POOL: batches from which the grouped ones are taken: eight groups of fifty
LONGEST = {"xnli": 128, "mnli": 128, "hellaswag": 128, "udpos": 128, "squad_v1": 384}
WHOLE = ("udpos", "squad_v1")  # their heads read all tokens, which the mean of a pair's does too

Input = dict[str, Any]


def lengths(name: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of that many inputs."""
    told = yaml.safe_load((HERE.parent / "src/xstilts/data/lengths.yaml").read_text(encoding="utf-8"))["datasets"][name]
    roles = [told[role] for role in ("text", "context", "question") if role in told]
    drawn = sum(_drawn(role, count, rng) for role in roles) + SPECIALS
    return np.clip(drawn.astype(int), 5, LONGEST[name])


def _drawn(law: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(law, dict):
        return law["mean"] * np.exp(law["spread"] * rng.standard_normal(count) - law["spread"] ** 2 / 2)
    return np.interp(rng.random(count), np.linspace(0, 1, len(law)), law)


def inputs(sizes: Sequence[int], vocabulary: int, rng: np.random.Generator) -> list[Input]:
    """Random token ids of these lengths."""
    return [
        {"input_ids": rng.integers(5, vocabulary, int(n)).astype(np.int32), "tokens": int(n), "label": int(n) % 3}
        for n in sizes
    ]


class Clock(TrainerCallback):
    """Seconds between the ends of steps; of the processor, if asked, which others on the machine disturb less."""

    def __init__(self, processor: bool) -> None:
        self.ends: list[float] = []
        self._now = time.process_time if processor else time.perf_counter

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        """Look at the clock, the device's work done."""
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(self._now())


class Plain(Trainer):
    """The Trainer with a given order of examples and a given padding."""

    def __init__(self, *args: Any, order: Sequence[int], length: int | None, **kwargs: Any) -> None:
        self._order, self._length = order, length
        super().__init__(*args, data_collator=self._collated, **kwargs)

    def _get_train_sampler(self, *_: Any) -> Any:
        return self._order

    def _collated(self, batch: list[Input]) -> dict[str, torch.Tensor]:
        made = pair.collate(batch, PAD)
        del made["lengths"]
        missing = (self._length or 0) - made["input_ids"].shape[1]
        if missing > 0:
            for key, value in (("input_ids", PAD), ("attention_mask", 0)):
                made[key] = torch.nn.functional.pad(made[key], (0, missing), value=value)
        return made


def shape(given: argparse.Namespace) -> XLMRobertaConfig:
    """XLM-R's, with this many layers."""
    large = given.width == 1024
    return XLMRobertaConfig(
        vocab_size=250_002 * given.layers // (24 if large else 12),
        hidden_size=given.width,
        num_hidden_layers=given.layers,
        num_attention_heads=given.width // 64,
        intermediate_size=4 * given.width,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=3,
    )


def hyper(given: argparse.Namespace) -> Hyperparameters:
    """One step to warm up, then those that are timed."""
    return Hyperparameters(learning_rate=1e-5, batch=given.batch, steps=given.steps + 1, max_length=512)


def run(given: argparse.Namespace, system: str, seed: int) -> float:
    """Real tokens per second of a system over the timed steps, in this process."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(seed)
    rng, clock = np.random.default_rng(seed), Clock(given.processor)
    with tempfile.TemporaryDirectory() as work:
        args = settings(given, seed, work)
        if system == "ours":
            if given.device == "cpu":
                keep_freed_memory()  # as jobs do there
            made = inputs(lengths(given.lengths, examples(given), rng).tolist(), shape(given).vocab_size, rng)
            trainer, order = ours(given, "pair", ("a", "b", "c"), made, args, clock)
        else:
            made, order = chosen(given, system, rng)
            trainer = peer(given, system, made, order, args, clock)
        trainer.train()
    timed = order[given.batch :]
    return sum(made[i]["tokens"] for i in timed) / (clock.ends[-1] - clock.ends[0])


def examples(given: argparse.Namespace) -> int:
    """Those of all steps."""
    return int(given.batch * (given.steps + 1))


def settings(given: argparse.Namespace, seed: int, work: str) -> TrainingArguments:
    """Those of a training of the workflow."""
    compute = {
        "device": given.device, "ranks": 1, "micro_batch": None, "micro_tokens": None, "threads": given.threads,
        "deepspeed": None, "report_to": [],
    }  # fmt: skip
    more = {"steps": given.steps + 1, "examples": given.batch, "seed": seed}
    return arguments(hyper(given), compute, precision=given.precision, work=Path(work), **more)


def ours(
    given: argparse.Namespace,
    kind: Kind,
    labels: tuple[str, ...],
    made: list[Input],
    args: TrainingArguments,
    clock: Clock,
) -> tuple[Trainer, list[int]]:
    """Our trainer of a kind of task, and the order of its examples."""
    schedule = Schedule([len(made)], [given.batch], [1.0], given.steps + 1, args.seed)
    batches = MicroBatches([one["tokens"] for one in made], schedule, Limits(given.micro, packed=True))
    encoder = XLMRobertaModel(shape(given), add_pooling_layer=False)
    pooling: Pooling = "mean" if given.lengths in WHOLE else "cls"
    model = TaskModel(encoder, [HeadSpec("t", kind, labels, pooling)])
    data = TaskData("t", kind, features.of(kind), made, len(made), labels, hyper(given))
    trainer = TaskTrainer(model, args, Inputs([data], PAD), batches, [clock])
    return trainer, [i for step in range(given.steps + 1) for i in batches.examples(step)]


def peer(
    given: argparse.Namespace, system: str, made: list[Input], order: list[int], args: TrainingArguments, clock: Clock
) -> Trainer:
    """The Trainer as it comes; smaller passes are accumulated."""
    if given.micro:
        args.gradient_accumulation_steps = given.batch // given.micro
        args.per_device_train_batch_size = given.micro
    torch.backends.cuda.enable_cudnn_sdp(True)  # as it comes; ours has switched it off
    length = int(system.split()[1]) if system.startswith("fixed") else None
    model = XLMRobertaForSequenceClassification(shape(given))
    return Plain(model, args, train_dataset=made, callbacks=[clock], order=order, length=length)


def chosen(given: argparse.Namespace, system: str, rng: np.random.Generator) -> tuple[list[Input], list[int]]:
    """Inputs, and their order; grouped ones are short, middling and long batches of a long training, so typical."""
    vocabulary, count = shape(given).vocab_size, examples(given)
    if system != "grouped":
        sizes = lengths(given.lengths, count, rng).tolist()
        return inputs(sizes, vocabulary, rng), Order(count, given.seed).take(0, count)
    pool = lengths(given.lengths, given.batch * POOL, rng)
    torch.manual_seed(int(rng.integers(2**31)))
    order = np.array(get_length_grouped_indices(pool.tolist(), given.batch)).reshape(POOL, given.batch)
    by_size = order[np.argsort(pool[order].sum(1))]
    timed = (np.arange(given.steps) + rng.random(given.steps)) / given.steps * POOL  # as many tokens as others have
    # The longest first, as transformers has it too: so that no timed batch is the first to need its memory.
    taken = by_size[[-1, *rng.permutation(timed.astype(int))]].flatten()
    return inputs(pool[taken].tolist(), vocabulary, rng), list(range(count))


def parser(description: str | None) -> argparse.ArgumentParser:
    """What this benchmark and those of memory and of steps on a GPU are told."""
    made = measured.parser(description)
    made.add_argument("--lengths", default="xnli", choices=LONGEST)
    for name, default in (("layers", 12), ("width", 768), ("batch", 32), ("steps", 4), ("threads", 2), ("seed", 0)):
        made.add_argument(f"--{name}", type=int, default=default)
    made.add_argument("--micro", type=int, help="examples of a pass at most; default: no limit")
    made.add_argument("--device", default="cpu")
    made.add_argument("--precision", default="fp32")
    return made


def main() -> None:
    """Measure, print and keep."""
    told = parser(__doc__)
    told.add_argument("--systems", nargs="+", default=["fixed 128", "fixed 256", "dynamic", "grouped", "ours"])
    given = told.parse_args()
    speeds: dict[str, list[float]] = {system: [] for system in given.systems}
    for repeat in range(given.repeats):
        for system, own in speeds.items():
            own.append(measured.alone(run, given, system, given.seed + repeat))
            print(f"repeat {repeat + 1}: {system}: {own[-1]:.0f} tokens/s", flush=True)
    report(given, speeds)


def report(given: argparse.Namespace, speeds: dict[str, list[float]]) -> None:
    """Ratios of ours to each, repeat by repeat: median, smallest, largest."""
    ratios = {name: measured.ratios(speeds["ours"], own) for name, own in speeds.items() if name != "ours"}
    rounded = {name: [round(x, 1) for x in own] for name, own in speeds.items()}
    name = f"training-{given.lengths}-{given.device}{'-processor' if given.processor else ''}"
    measured.keep(name, given, tokens_per_second=rounded, ours_to=ratios)
    for name, ratio in ratios.items():
        print(f"ours to {name}: {measured.told(ratio)}")


if __name__ == "__main__":
    main()
