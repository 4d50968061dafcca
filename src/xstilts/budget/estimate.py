"""What each step of a study costs: seconds, device memory, disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xstilts import digest
from xstilts.budget import backbones, devices, lengths, loads, memory
from xstilts.budget.architecture import Architecture
from xstilts.budget.devices import Device, Load
from xstilts.budget.lengths import Inputs, inputs, texts
from xstilts.budget.loads import Model
from xstilts.budget.missing import Missing
from xstilts.budget.statistics import Statistics
from xstilts.schema.arms import MLM, Mixture
from xstilts.schema.training import Hyperparameters, Selection
from xstilts.study import ENCODER, Plan, Step
from xstilts.training.steps import mixed_steps, rates, total_steps

TRAININGS = ("intermediate", "finetune")
ON_MODELS = (*TRAININGS, "predict")
ON_DEVICE = ("translate", "backbone", *ON_MODELS)

# Ours, measured on the mini study: seconds of a job of the host, and per row that it reads.
_HOST = {
    "world": (6.0, 0.0),
    "preflight": (0.5, 0.0),
    "prepare": (0.2, 1e-5),
    "match": (0.5, 0.0),
    "score": (0.2, 5e-5),
    "external": (1.0, 0.0),
    "submission": (2.0, 0.0),
    "overlap": (1.0, 2e-5),
    "tabulate": (0.2, 0.0),
    "figures": (5.0, 0.0),
    "selection": (5.0, 0.0),
    "significance": (30.0, 0.0),
    "report": (5.0, 0.0),
    "verify_published": (3.0, 0.0),
    "verify_baseline": (3.0, 0.0),
}
# Seconds until a job computes (measured: benchmarks/mini_study.py, start_up.py), for GPUs estimated.
_START = {"warm": 0.3, "cpu": 3.5, "cuda": 25.0}
_DISK = 1e9  # bytes per second of a file system that checkpoints are read from and written to (estimated)
_NETWORK = 5e7  # bytes per second from the hub (estimated)
_ENCODE = 5e-5  # seconds to make one input of a row (measured on one core)
_TOKEN_BYTES = 8.0  # of inputs on disk, per token: its number and what single kinds keep beside it
_VOCABULARY_BYTES = 68.0  # of a tokenizer.json per entry (XLM-R's has 17 MB)
_FILLED = {"world": 0.35, "text": 0.7}  # share of max_length that raw text fills (measured: mini and local study)
_LAYER_BYTES = 8 * 2**30  # of vectors that evaluation.embed holds at a time
_LABELS = 500  # of a head whose labels only its data tells (CCG has some 425)
_TEXT_BYTES = 4.0  # of a token's text on disk (estimated)
# Bytes of a row of predictions on disk, and per token where every token has scores (estimated).
_ROW_BYTES = {"pair": 60.0, "choice": 60.0, "span": 1500.0, "tagging": 60.0, "retrieval": 60.0}


@dataclass(frozen=True)
class Cost:
    """What one job costs.

    Attributes:
        seconds: expected run time; `upper` if no training stops early.
        devices: devices that it holds (GPUs, or cores on a study that runs on CPUs).
        held: device memory at its peak, bytes; 0 where no device computes.
        fits: examples per pass that fit, if not the configured number.
        written: bytes that it writes and leaves; `weights`: those of them that a pruning policy may remove.
        missing: why there is no estimate.
    """

    seconds: float = 0.0
    upper: float = 0.0
    devices: int = 0
    held: float = 0.0
    fits: int | None = None
    written: float = 0.0
    weights: float = 0.0
    missing: str | None = None


class _Alone(NamedTuple):
    """What a task of a mixture would cost alone: its steps, seconds of one, bytes held and written."""

    steps: int
    step: float
    held: float
    written: float


class Estimator:
    """Costs of the steps of one plan on one device.

    Args:
        plan: the study.
        device: what it would run on.
    """

    def __init__(self, plan: Plan, device: Device) -> None:
        self.plan, self.device = plan, device
        self.statistics = Statistics(plan)
        self._costs: dict[str, Cost] = {}
        self._inputs: dict[str, Inputs] = {}

    def cost(self, step: Step, stop: float | None = None) -> Cost:
        """What a step costs; the same for every seed.

        Args:
            stop: share of its steps after which a training stops, if finished ones tell.
        """
        return self.costed(step, step.slice, step.payload.get("compute") or {}, stop)

    def costed(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], stop: float | None) -> Cost:
        """What a step costs, or did under another slice or on other hardware."""
        key = digest.canonical([_alike(step, slice_), dict(compute), stop])
        if key not in self._costs:
            try:
                self._costs[key] = self._estimate(step, slice_, compute, stop)
            except Missing as reason:
                self._costs[key] = Cost(missing=str(reason), devices=self.held_devices(step))
            except (KeyError, TypeError, ValueError) as error:
                # An estimate must never keep a study from running.
                unknown = f"{step.phase} has settings that the budget does not know ({type(error).__name__}: {error})"
                self._costs[key] = Cost(missing=unknown, devices=self.held_devices(step))
        return self._costs[key]

    def held_devices(self, step: Step) -> int:
        """Devices that a job of the step holds."""
        given = self.plan.study.compute
        if step.phase not in ON_DEVICE:
            return 0
        if given.device == "cpu":
            own = (step.payload.get("compute") or {}).get("threads", given.threads)
            return int(own) * (given.ranks if step.phase in TRAININGS else 1)
        if step.phase == "backbone":
            return 0
        return given.ranks if step.phase in TRAININGS else 1

    def _estimate(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], stop: float | None) -> Cost:
        by_phase: dict[str, Callable[..., Cost]] = {
            "intermediate": self._training,
            "finetune": self._training,
            "predict": self._prediction,
            "backbone": self._backbone,
            "tokenize": self._tokenization,
            "translate": self._translation,
        }
        if step.phase in by_phase:
            made = by_phase[step.phase](step, slice_, compute, stop)
            return replace(made, devices=self.held_devices(step))
        if step.phase not in _HOST:
            raise Missing(f"phase {step.phase} is not estimated before some of its jobs are finished")
        start, per_row = _HOST[step.phase]
        seconds = start + per_row * self._rows(step)
        return Cost(seconds, seconds, written=20.0 * self._rows(step))

    # --- phases

    def _training(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], stop: float | None) -> Cost:
        if "tasks" in slice_:
            return self._mixture(step, slice_, compute)
        if "learning_rates" in slice_:
            return self._choice(step, slice_, compute)
        hyper, kind = slice_["hyper"], slice_["kind"]
        model = self._model(step, slice_)
        train = self._seen(step, kind, step.payload["train"], hyper)
        made = loads.passes(train, hyper["batch"], compute)
        held, fits = self._memory(model, made, compute, hyper["batch"])
        steps = total_steps(math.ceil(train.count), Hyperparameters.model_validate(hyper))
        one = self._seconds(model.step(made, compute), slice_["precision"], compute)
        one += self._looking(step, model, slice_, compute)
        before = self._start(compute) + 4.0 * model.size.parameters / _DISK + self._encoding(step, train)
        selection = Selection.model_validate(hyper["selection"])
        expected = steps * (_expected_share(steps, selection) if stop is None else stop)
        weights = len(selection.rules) * 4.0 * model.size.parameters
        return Cost(
            seconds=before + expected * one,
            upper=before + steps * one,
            held=held,
            fits=fits,
            written=weights + _tokenizer_bytes(model.architecture),
            weights=weights,
        )

    def _mixture(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any]) -> Cost:
        """Several tasks: each costs a step what it costs alone, and gets the steps of its rate."""
        mixture = Mixture.model_validate(slice_.get("mixture") or {})
        alone = [self._alone(step, slice_, part, compute) for part in step.payload["tasks"]]
        sizes = [size for size, _, _ in alone]
        shares, labelled = rates(sizes, mixture), [part["task"] != MLM for part in slice_["tasks"]]
        own = [cost.steps if wanted else None for (_, cost, _), wanted in zip(alone, labelled, strict=True)]
        if slice_.get("mlm_only"):
            shares, steps = [0.0 if wanted else 1.0 for wanted in labelled], sum(filter(None, own))
        else:
            steps = mixed_steps(sizes, shares, own, mixture, [batch for _, _, batch in alone])
        seconds = sum(share * steps * cost.step for share, (_, cost, _) in zip(shares, alone, strict=True))
        held = max(cost.held for _, cost, _ in alone)
        written = max(cost.written for _, cost, _ in alone)
        begun = self._start(compute)
        return Cost(begun + seconds, begun + seconds, held=held, written=written, weights=written)

    def _alone(
        self, step: Step, slice_: Mapping[str, Any], part: Mapping[str, Any], compute: Mapping[str, Any]
    ) -> tuple[int, _Alone, int]:
        """Examples of a task of a mixture, what it costs alone, and its batch."""
        hyper, last = part["hyper"], {"selection": {"checkpoint": "last"}}
        if part["task"] == MLM:
            return part["text"]["sentences"], self._masked(step, slice_, part, compute), hyper["batch"]
        one = replace(step, payload={**step.payload, **part, "dev": [], "target_dev": {}})
        single = {key: value for key, value in slice_.items() if key not in ("tasks", "mixture")}
        cost = self._training(one, {**single, **part, "hyper": {**hyper, **last}}, compute, None)
        seen = self._seen(one, part["kind"], part["train"], hyper)
        steps = total_steps(math.ceil(seen.count), Hyperparameters.model_validate(hyper))
        return math.ceil(seen.count), _Alone(steps, cost.upper / steps, cost.held, cost.written), hyper["batch"]

    def _masked(
        self, step: Step, slice_: Mapping[str, Any], part: Mapping[str, Any], compute: Mapping[str, Any]
    ) -> _Alone:
        """A step of masked-language modelling, its sentences taken to be half of the longest."""
        architecture = backbones.architecture(self.plan, step.folders[0])
        model, batch = Model(architecture, "retrieval", 0, slice_["precision"]), part["hyper"]["batch"]
        length = 0.5 * part["hyper"]["max_length"]
        made = loads.Passes(1, batch * length, batch * length**2, batch, 0.0)
        output = 3 * 2.0 * architecture.width * architecture.vocabulary
        load = model.step(made, compute) + Load(operations=output * part["text"]["mask_probability"] * batch * length)
        weights = 4.0 * architecture.size.parameters
        return _Alone(0, self._seconds(load, slice_["precision"], compute), 0.0, weights)

    def _choice(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any]) -> Cost:
        """The best of a grid: every candidate predicts English dev; nothing is written twice."""
        model = self._model(step, slice_)
        dev = self._seen(step, slice_["kind"], step.payload["dev"], slice_["hyper"])
        each = self._seconds(model.looks(dev, dev.count), slice_["precision"], compute)
        each += 4.0 * model.size.parameters / _DISK
        seconds = self._start(compute) + len(slice_["learning_rates"]) * each
        return Cost(seconds, seconds)

    def _looking(self, step: Step, model: Model, slice_: Mapping[str, Any], compute: Mapping[str, Any]) -> float:
        """Seconds that looks at dev add to a step; every second one is taken to keep weights."""
        hyper = slice_["hyper"]
        selection = Selection.model_validate(hyper["selection"])
        if selection.rules == ("last",):
            return 0.0
        seconds = 0.5 * len(selection.rules) * 4.0 * model.size.parameters / _DISK
        for paths in filter(None, [step.payload["dev"], *([path] for path in step.payload["target_dev"].values())]):
            dev = self._seen(step, slice_["kind"], paths, hyper)
            examples = min(dev.count, selection.examples or dev.count)
            seconds += self._seconds(model.looks(dev, examples), slice_["precision"], compute)
        return seconds / selection.every_steps

    def _memory(
        self, model: Model, made: loads.Passes, compute: Mapping[str, Any], batch: int
    ) -> tuple[float, int | None]:
        """Bytes at the peak, and the examples per pass that fit if the configured ones do not."""
        held = memory.training(model.architecture, model.size, compute, model.precision, made.widest)
        peak = held.peak(made.longest)
        if not self.device.memory or peak <= memory.USABLE * self.device.memory:
            return peak, None
        share = batch // int(compute["ranks"])
        micro = share // made.number
        fits = memory.largest_fitting(held, self.device, share, made.longest / micro)
        if fits is None:
            least = held.peak(made.longest / micro) / 1e9
            raise Missing(
                f"no micro-batch fits: one example takes {least:.0f} GB, {self.device.name} has "
                f"{self.device.memory / 1e9:.0f}; use more compute.ranks with compute.deepspeed, or a larger device"
            )
        return peak, fits

    def _prediction(
        self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], _stop: float | None
    ) -> Cost:
        model, seconds, written = self._model(step, slice_), 0.0, 0.0
        encoder = step.folders[2] == ENCODER
        hyper = slice_["retrieval"] if encoder else slice_["hyper"]
        for part in step.payload["parts"]:
            for path in part["data"].values():
                seen = self._seen(step, part["kind"], [path], hyper)
                load = model.predictions(seen, step.payload["batch_tokens"]) * _rounds(slice_, model, seen)
                seconds += self._seconds(load, slice_["precision"], compute) + self._encoding(step, seen)
                written += seen.count * _ROW_BYTES[part["kind"]]
                if part["kind"] == "tagging":
                    written += 4.0 * len(part["labels"]) * seen.tokens
                if part["kind"] == "retrieval":
                    seconds += self._search(seen, slice_, model, compute)
        before = self._start(compute) + 4.0 * model.size.parameters / _DISK
        room, widest = step.payload["batch_tokens"], float(hyper["max_length"])
        held = memory.prediction(model.architecture, model.size, room, model.precision, widest)
        return Cost(before + seconds, before + seconds, held=held, written=written)

    def _search(self, seen: Inputs, slice_: Mapping[str, Any], model: Model, compute: Mapping[str, Any]) -> float:
        load = loads.mining(seen.count / 2, seen.count / 2, model.architecture.width)
        return _layers(slice_, model) * self._seconds(load, "fp32", compute)

    def _backbone(self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], _stop: float | None) -> Cost:
        architecture = backbones.architecture(self.plan, step.folders[0])
        weights = 4.0 * architecture.size.parameters
        written = weights + _tokenizer_bytes(architecture)
        training = slice_.get("training")
        if training is None:
            seconds = 10.0 + written / (_NETWORK if slice_.get("hub") else _DISK)
            return Cost(seconds, seconds, written=written)
        model = Model(architecture, "retrieval", 0, "fp32")
        filled = _FILLED["world" if self.plan.study.data.world else "text"]
        length = filled * training["max_length"]
        made = loads.Passes(1, training["batch"] * length, training["batch"] * length**2, training["batch"], 0.0)
        output = 3 * 2.0 * architecture.width * architecture.vocabulary
        masked = training["mask_probability"] * training["batch"] * length
        load = model.step(made, {"ranks": 1}) + Load(operations=output * masked)
        host = devices.named(devices.CPU)
        seconds = self._start(compute) + training["steps"] * host.seconds(load, "fp32", compute.get("threads", 1))
        return Cost(seconds, seconds, written=written)

    def _tokenization(
        self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], _stop: float | None
    ) -> Cost:
        """Inputs on so many cores; each is some numbers a token, mapped from the disk when it is read."""
        parts = zip(slice_["tasks"], step.payload["train"], step.payload["evaluated"], strict=True)
        reads = [(task, paths) for task, train, single in parts for paths in (train, *([path] for path in single))]
        seen = [self._seen(step, task["kind"], paths, task["hyper"]) for task, paths in reads if paths]
        seconds = _START["cpu"] + _ENCODE * sum(one.count for one in seen) / int(compute["threads"])
        return Cost(seconds, seconds, written=_TOKEN_BYTES * sum(one.tokens for one in seen))

    def _translation(
        self, step: Step, slice_: Mapping[str, Any], compute: Mapping[str, Any], _stop: float | None
    ) -> Cost:
        """Every text by itself, equal ones counted as if they were not."""
        dataset, language = step.folders
        (part,) = self.statistics.parts([step.payload["train"]], None)
        ratio = 1.0 if self.plan.study.data.world else lengths.per_english_token(language)
        seen = texts(slice_["kind"], part)
        given = {key: slice_[key] for key in ("precision", "batch", "beams")}
        model = loads.Translator(
            backbones.translator(self.plan, dataset), ratio=ratio, limit=slice_["max_length"], **given
        )
        load = model.load(seen.longest) * (seen.count / len(seen.longest))
        weights = 4.0 * model.architecture.size.parameters
        before = self._start(compute) + weights / (_NETWORK if step.payload["hub"] else _DISK)
        seconds = before + self._seconds(load, slice_["precision"], compute) + _ENCODE * seen.count
        return Cost(seconds, seconds, held=model.held, written=_TEXT_BYTES * ratio * seen.tokens)

    # --- shared

    def _encoding(self, step: Step, seen: Inputs) -> float:
        """Seconds that a training or a prediction takes to make its inputs, where no job has done so before."""
        return 0.0 if any(need.phase == "tokenize" for need in step.needs) else _ENCODE * seen.count

    def _model(self, step: Step, slice_: Mapping[str, Any]) -> Model:
        architecture = backbones.architecture(self.plan, step.folders[0])
        own = slice_.get("backbone") or {"pooling": self.plan.study.backbones[step.folders[0]].pooling}
        precision, pooling = slice_["precision"], own["pooling"]
        if step.phase == "predict":
            part = step.payload["parts"][0]
            if part["kind"] == "retrieval" and slice_["retrieval"]["layers"] != "all":
                architecture = architecture.up_to(max(slice_["retrieval"]["layers"]))
            return Model(architecture, part["kind"], len(part["labels"]), precision, pooling)
        return Model(architecture, slice_["kind"], len(slice_.get("labels", ())) or _LABELS, precision, pooling)

    def _seen(self, step: Step, kind: str, paths: list[str], hyper: Mapping[str, Any]) -> Inputs:
        lengths = {key: hyper.get(key) for key in ("max_length", "doc_stride", "max_query_length")}
        key = digest.canonical([kind, paths, lengths, step.folders[0]])
        if key not in self._inputs:
            tokenizer = backbones.tokenizer(self.plan, step.folders[0])
            self._inputs[key] = inputs(kind, self.statistics.parts(paths, tokenizer), lengths)
        return self._inputs[key]

    def _seconds(self, load: Load, precision: str, compute: Mapping[str, Any]) -> float:
        return self.device.seconds(load, precision, int(compute.get("threads") or 1))

    def _start(self, compute: Mapping[str, Any]) -> float:
        return _START["warm" if compute.get("warm") else str(compute.get("device", "cpu"))]

    def _rows(self, step: Step) -> float:
        """Rows that a job of the host reads, as far as they are known."""
        paths: list[str] = []
        if step.phase == "prepare":
            paths = [str(step.directory / f"{split}.{language}.parquet") for split, language in step.payload["parts"]]
        elif step.phase == "score":
            parts = step.needs[0].payload["parts"]
            paths = [p for part in parts if part["task"] == step.folders[2] for p in part["data"].values()]
        try:
            return sum(part.rows for part in self.statistics.parts(paths, None))
        except Missing:
            return 0.0


def _alike(step: Step, slice_: Mapping[str, Any]) -> list[Any]:
    """What steps of one cost have in common: all but their seeds, their digests and where they start from."""
    settings = {key: value for key, value in slice_.items() if key != "seed"}
    reads = [step.payload.get(key) for key in ("train", "dev", "tasks", "evaluated")]
    parts = [[p["task"], p["data"]] for p in step.payload.get("parts", [])] if step.phase == "predict" else None
    place = (
        step.folders[2] if step.phase in ("predict", "score") else step.folders[0] if step.phase == "prepare" else None
    )
    return [step.phase, step.folders[:1], place, settings, reads, parts]


def _layers(slice_: Mapping[str, Any], model: Model) -> int:
    """Layers whose vectors a retrieval wants."""
    wanted = slice_["retrieval"]["layers"]
    return model.architecture.layers + 1 if wanted == "all" else len(wanted)


def _rounds(slice_: Mapping[str, Any], model: Model, seen: Inputs) -> int:
    """How often a prediction runs its encoder: again for layers whose vectors memory has no room for."""
    if model.kind != "retrieval":
        return 1
    held = 4.0 * model.architecture.width * seen.count
    return math.ceil(_layers(slice_, model) / max(1, _LAYER_BYTES // held))


def _tokenizer_bytes(architecture: Architecture) -> float:
    return _VOCABULARY_BYTES * architecture.vocabulary


def _expected_share(steps: int, selection: Selection) -> float:
    """Share of its steps that a training takes if nothing is known: the middle of what early stopping leaves open."""
    if selection.checkpoint != "best" or selection.patience is None:
        return 1.0
    earliest = (selection.patience + 1) * selection.every_steps
    return (min(1.0, earliest / steps) + 1.0) / 2
