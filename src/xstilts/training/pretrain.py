"""Phase 1 from raw text: a tokenizer and a small masked language model (mini and local studies)."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM

from xstilts import files, provenance
from xstilts.errors import ConfigError, DataError, StoppedError, UserError
from xstilts.job import terminal
from xstilts.training import mlm
from xstilts.training.tokenizer import BOS, EOS, PAD, train_tokenizer
from xstilts.training.watch import GO_ON, STOP, Watch
from xstilts.training.work import Work

if TYPE_CHECKING:
    from xstilts.schema.training import BackboneTraining

_BETAS, _WEIGHT_DECAY, _CLIP, _WARMUP, _INIT_RANGE = (0.9, 0.98), 0.01, 1.0, 0.1, 0.05
_ENGLISH = "en"
_STATE = "state.pt"
_LOOKS = 100  # lines of the learning curve

Lines = list[tuple[str, ...]]


@dataclass
class _Corpus:
    """Raw lines by language; of `parallel`, both sides."""

    text: dict[str, Lines]
    parallel: dict[str, Lines]


@dataclass
class _Curve:
    """The learning curve: losses summed between looks, one JSON line a look, the last look's mean kept."""

    every: int
    lines: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    mean: float = float("nan")

    def add(self, step: int, last: bool, loss: float, tokens: int) -> bool:
        """Take one step's loss; True if it ended a look."""
        self.losses.append(loss)
        self.tokens += tokens
        if step % self.every and not last:
            return False
        self.mean = float(np.mean(self.losses))
        if not math.isfinite(self.mean):
            raise UserError(f"backbone: the loss is {self.mean} at step {step}; lower the learning rate")
        self.losses.clear()
        self.lines.append(json.dumps({"step": step, "loss": round(self.mean, 5), "tokens": self.tokens}) + "\n")
        return True


def pretrain(job: dict[str, Any]) -> None:
    """Train tokenizer and model of a backbone job and publish them as a Hugging Face directory.

    The directory opens with AutoModel (its encoder) and AutoModelForMaskedLM; `log.jsonl` holds the learning
    curve (mean training loss in nats per masked token), `record.json`, written last, the record. On a CPU the
    same job gives the same bits, also when it is stopped and goes on.

    Args:
        job: a BackboneJob: name, digest, plan, training (a dumped `BackboneTraining`), text and parallel
            (language: path), compute, output (directory), work (directory).

    Raises:
        StoppedError: a signal or a newer attempt stopped it; its state is saved.
        ConfigError: sizes that do not fit each other.
        DataError: a text file that is missing, empty or malformed; names file and line.
        UserError: the loss is not a number any more.
    """
    started = time.time()
    training = cast("BackboneTraining", SimpleNamespace(**job["training"]))  # validated where the study was read
    _check(training)
    corpus = _read(training, job["text"], job["parallel"])
    torch.set_num_threads(job["compute"]["threads"])
    torch.manual_seed(training.seed)
    tokenizer = train_tokenizer(_tokenizer_texts(corpus, training), training.vocabulary, training.positions)
    model = _model(training, len(tokenizer))
    # transformers wraps `to` in a decorator whose types lose the device.
    model.to(_device(job["compute"]))  # type: ignore[arg-type]
    work = Work(Path(job["work"]))
    with work.held():
        run = _Run(model, training, work, Watch(work, job["compute"]["state_minutes"]), started)
        run.train(_inputs(corpus, training, tokenizer))
        _publish(job, run, tokenizer, work)


def _publish(job: dict[str, Any], run: _Run, tokenizer: PreTrainedTokenizerFast, work: Work) -> None:
    if not work.owned():
        raise StoppedError("a newer attempt has taken over")
    with files.staged(Path(job["output"])) as staging:
        files.write_text(staging / "log.jsonl", "".join(run.curve.lines))
        run.model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        measured = {
            "steps": run.training.steps,
            "tokens": run.curve.tokens,
            "loss": run.curve.mean,
            "vocabulary": len(tokenizer),
            "wall_seconds": round(run.seconds, 3),
            "attempts": work.attempts(),
        }
        files.write_json(staging / files.RECORD, provenance.record(job, run.started, **measured))
    work.remove()


def _device(compute: dict[str, Any]) -> str:
    """The job's device; the CPU where its scheduler granted no GPU, which so small a model need not have."""
    return "cuda" if compute["device"] == "cuda" and torch.cuda.is_available() else "cpu"


def _check(training: BackboneTraining) -> None:
    key = "backbones.*.train"
    if training.hidden % training.heads:
        problem = f"{training.hidden} is not divisible by {training.heads} heads"
        raise ConfigError(f"{key}.hidden", problem, "change `hidden` or `heads`")
    if training.max_length > training.positions:
        problem = f"{training.max_length} is more than `positions` ({training.positions})"
        raise ConfigError(f"{key}.max_length", problem, "lower it or raise `positions`")
    if training.aligned_lines and len(training.languages) < 2:
        raise ConfigError(f"{key}.aligned_lines", "needs two languages or more", "add languages or set it to 0")


def _read(training: BackboneTraining, text: dict[str, str], parallel: dict[str, str]) -> _Corpus:
    lacking = [code for code in training.languages if code not in text]
    if lacking:
        raise ConfigError(
            "backbones.*.train.languages", f"no text for {', '.join(lacking)}", "add files or remove them"
        )
    paths = {code: Path(text[code]) for code in training.languages}
    return _Corpus(
        {code: _read_text(path, training.aligned_lines) for code, path in paths.items()},
        {code: _read_pairs(Path(path)) for code, path in parallel.items()},
    )


def _read_text(path: Path, aligned: int) -> Lines:
    lines = mlm.read_lines(path, most_segments=2)
    if len(lines) < aligned:
        problem = f"{len(lines)} lines, but aligned_lines is {aligned}"
        raise DataError(path, problem, "lower aligned_lines or add the translations")
    blank = next((number for number, parts in enumerate(lines[:aligned], 1) if not parts[0]), None)
    if blank:
        raise DataError(path, "a blank line among the aligned ones", "fill it or lower aligned_lines", blank)
    return [parts for parts in lines if parts[0]]


def _read_pairs(path: Path) -> Lines:
    lines = mlm.read_lines(path, most_segments=2)
    for number, parts in enumerate(lines, start=1):
        if len(parts) != 2:
            raise DataError(path, "expected English, a tab, its translation", "correct or remove the line", number)
    return lines


def _tokenizer_texts(corpus: _Corpus, training: BackboneTraining) -> list[str]:
    """The text that the tokenizer learns from; a language over its sampling share is cut down to it."""
    texts = {code: [" ".join(parts) for parts in lines] for code, lines in corpus.text.items()}
    for code, pairs in corpus.parallel.items():
        texts.setdefault(_ENGLISH, []).extend(english for english, _ in pairs)
        texts.setdefault(code, []).extend(translation for _, translation in pairs)
    rng = np.random.default_rng([training.seed, 0])
    total = sum(map(len, texts.values()))
    shares = mlm.shares([len(lines) for lines in texts.values()], training.alpha)
    chosen: list[str] = []
    for lines, share in zip(texts.values(), shares, strict=True):
        order = rng.permutation(len(lines))[: max(1, round(share * total))]
        chosen += [lines[i] for i in order]
    return chosen


def _inputs(corpus: _Corpus, training: BackboneTraining, tokenizer: PreTrainedTokenizerFast) -> Iterator[mlm.Batch]:
    """Endless masked batches."""
    text = {code: _encoded(tokenizer, lines) for code, lines in corpus.text.items()}
    parallel = [_encoded(tokenizer, pairs) for pairs in corpus.parallel.values()]
    pairs = [mlm.translation_source(lines) for lines in parallel]
    if training.aligned_lines:
        every = list(text.values())
        pairs += [mlm.aligned_source(i, every, training.aligned_lines) for i in range(len(every))]
    rng = np.random.default_rng([training.seed, 1])
    drawn = mlm.batches(
        [mlm.text_source(lines) for lines in text.values()],
        pairs,
        batch=training.batch,
        max_length=training.max_length,
        alpha=training.alpha,
        parallel_share=training.parallel_share,
        rng=rng,
    )
    for inputs in drawn:
        yield mlm.masked(inputs, training.mask_probability, len(tokenizer), rng)


def _encoded(tokenizer: PreTrainedTokenizerFast, lines: Lines) -> list[mlm.Segments]:
    """Token ids of every segment, without special tokens."""
    flat = [segment for parts in lines for segment in parts]
    found = iter(tokenizer.backend_tokenizer.encode_batch_fast(flat, add_special_tokens=False))
    return [tuple(np.asarray(next(found).ids, dtype=np.int64) for _ in parts) for parts in lines]


def _model(training: BackboneTraining, vocabulary: int) -> XLMRobertaForMaskedLM:
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=training.hidden,
        num_hidden_layers=training.layers,
        num_attention_heads=training.heads,
        intermediate_size=training.intermediate,
        max_position_embeddings=training.positions + PAD + 1,  # XLM-R counts positions from PAD + 1
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=_INIT_RANGE,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        tie_word_embeddings=True,
    )
    return XLMRobertaForMaskedLM(config)


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up over the first tenth, then linear decay to zero."""
    warmup = max(1, round(_WARMUP * steps))
    return (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)


class _Run:
    """A training that is set up."""

    def __init__(
        self, model: XLMRobertaForMaskedLM, training: BackboneTraining, work: Work, watch: Watch, started: float
    ) -> None:
        self.model, self.training, self.started = model, training, started
        self._work, self._watch, self._earlier = work, watch, 0.0
        self.curve = _Curve(max(1, training.steps // _LOOKS))
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=training.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _rate(step, training.steps))

    @property
    def seconds(self) -> float:
        """Seconds of training behind the present state, those of earlier attempts that led to it included."""
        return self._earlier + time.time() - self.started

    def train(self, inputs: Iterator[mlm.Batch]) -> None:
        """Train to the end, from where an earlier attempt stopped if there was one."""
        done = self._restore()
        self._work.began(from_step=done, ranks=1)
        self.model.train()
        total = self.training.steps
        bar = tqdm(total=total, initial=done, desc="backbone", file=terminal(), disable=terminal() is None)
        with self._watch.listening(), bar:
            # Inputs are drawn again from the first one: the same, and cheap beside a step.
            for step, batch in enumerate(islice(inputs, done, total), start=done + 1):
                self._take(step, batch)
                bar.update()
                if step < total and (wish := self._watch.wish()) != GO_ON:
                    self._save(step)
                    if wish == STOP:
                        raise self._watch.stopped(step)

    def _take(self, step: int, batch: mlm.Batch) -> None:
        total = self.training.steps
        loss = _step(self.model, batch, self._optimizer)
        self._schedule.step()
        if self.curve.add(step, step == total, loss, int((batch.ids != PAD).sum())):
            print(f"step {step}/{total} loss {self.curve.mean:.3f}", file=sys.stderr)

    def _save(self, step: int) -> None:
        folder = self._work.scratch / f"step-{step}"
        folder.mkdir()
        held = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "curve": asdict(self.curve),
        }
        torch.save(held, folder / _STATE)
        self._work.commit(folder, step, {"seconds": self.seconds})
        self._watch.saved()

    def _restore(self) -> int:
        """Take the newest state back; returns its step."""
        state = self._work.newest()
        if state is None:
            return 0
        held = torch.load(state.path / _STATE, weights_only=True, map_location=self.model.device)
        self.model.load_state_dict(held["model"])
        self._optimizer.load_state_dict(held["optimizer"])
        self._schedule.load_state_dict(held["schedule"])
        self.curve, self._earlier = _Curve(**held["curve"]), state.facts["seconds"]
        return state.step


def _step(model: XLMRobertaForMaskedLM, batch: mlm.Batch, optimizer: torch.optim.Optimizer) -> float:
    """One optimizer step; the head runs on masked positions only. Returns the mean loss over them."""
    ids = torch.from_numpy(batch.ids).to(model.device)
    hidden = model.roberta(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state
    logits = model.lm_head(hidden[torch.from_numpy(batch.chosen).to(model.device)])
    loss = functional.cross_entropy(logits, torch.from_numpy(batch.targets).to(model.device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    return float(loss.detach())
