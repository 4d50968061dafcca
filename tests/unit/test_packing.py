"""Computing without padding: the same loss and gradients as with it, for every head and architecture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers as hf
from tiny import tokenizer
from torch.utils._python_dispatch import TorchDispatchMode

from xstilts.models import packing
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel
from xstilts.schema.training import Hyperparameters
from xstilts.tasks import features
from xstilts.training.batching import Limits, MicroBatches, Schedule
from xstilts.training.inputs import Inputs, TaskData
from xstilts.training.masking import mask
from xstilts.training.trainer import TaskTrainer, arguments

# Weights are drawn wide, lest the gradients of a question's choices all but cancel, which magnifies any rounding.
SMALL = {
    "vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 2,
    "initializer_range": 0.2,
}  # fmt: skip
ENCODERS = {
    "xlm-roberta": (hf.XLMRobertaModel, hf.XLMRobertaConfig(**SMALL)),
    "bert": (hf.BertModel, hf.BertConfig(**SMALL)),
    "electra": (hf.ElectraModel, hf.ElectraConfig(**SMALL)),
    "xlm-roberta-xl": (hf.XLMRobertaXLModel, hf.XLMRobertaXLConfig(**SMALL)),
    "modernbert": (hf.ModernBertModel, hf.ModernBertConfig(**SMALL, local_attention=8, global_attn_every_n_layers=2)),
    "deberta-v2": (
        hf.DebertaV2Model,
        hf.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], max_relative_positions=64),
    ),
    "rembert": (hf.RemBertModel, hf.RemBertConfig(**SMALL)),
}
PADDED = {"deberta-v2", "rembert"}
HYPER = Hyperparameters(learning_rate=1, batch=1, epochs=1, max_length=64, max_query_length=8, doc_stride=16)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "lazy", "dog", "ran", "away", "or", "is", "it", "quick"]


def text(rng: torch.Generator, longest: int) -> str:
    size = int(torch.randint(longest + 1, (1,), generator=rng))
    return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (size,), generator=rng).tolist())


def rows(kind: str, rng: torch.Generator) -> list[Any]:
    """Ragged rows, among them empty second texts, single words and texts that fill an input."""
    long, texts = " ".join(WORDS * 8), [text(rng, 30) for _ in range(9)]
    ids = [{"id": str(i)} for i in range(11)]
    if kind == "pair":
        pairs = [("cat", ""), (long, "mat"), *((one, text(rng, 9)) for one in texts)]
        return [row | {"text_a": a, "text_b": b, "label": "no"} for row, (a, b) in zip(ids, pairs, strict=True)]
    if kind == "choice":
        choices = [["a", "cat"], [long, "", "dog"], *([text(rng, 9) for _ in range(2 + i % 3)] for i in range(9))]
        return [r | {"context": t, "question": "", "choices": c, "label": 1}
                for r, t, c in zip(ids, ["cat", long, *texts], choices, strict=True)]  # fmt: skip
    if kind == "span":
        return [r | {"title": "", "context": f"cat {t}", "question": "is it", "answers": ["cat"], "starts": [0]}
                for r, t in zip(ids, ["", long, *texts], strict=True)]  # fmt: skip
    words = [one.split() or ["cat"] for one in ["cat", long, *texts]]
    return [row | {"tokens": some, "tags": ["A"] * len(some)} for row, some in zip(ids, words, strict=True)]


def model_and_batch(
    kind: str, architecture: str, pooling: str = "cls"
) -> tuple[TaskModel, list[Any], features.Features]:
    rng = torch.Generator().manual_seed(3)
    found = features.of(cast(Any, kind))
    family = "wordpiece" if architecture in ("bert", "electra") else "bpe-metaspace"
    labels = {"pair": ["no", "yes"], "tagging": ["A", "B"], "span": ["answer"]}.get(kind, [])
    if kind == "mlm":
        encoded = mask([text(rng, 30) or "cat" for _ in range(40)], tokenizer(family), 64, 0.3, seed=1)
    else:
        encoded = found.encode(rows(kind, rng), tokenizer(family), HYPER, labels)
    torch.manual_seed(0)
    make, config = ENCODERS[architecture]
    model = TaskModel(make(config), [HeadSpec("t", cast(Any, kind), tuple(labels), cast(Any, pooling))]).eval()
    return model, encoded, found


def gradients(model: TaskModel, batches: Sequence[dict[str, torch.Tensor]]) -> tuple[float, torch.Tensor]:
    """Loss and all gradients, summed over the batches."""
    model.zero_grad()
    loss = 0.0
    for batch in batches:
        one = model(**batch)["loss"]
        one.backward()
        loss += one.item()
    return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("architecture", ENCODERS)
@pytest.mark.parametrize("kind", ["pair", "pair mean", "choice", "span", "tagging"])
def test_the_fast_path_has_the_padded_gradients(kind: str, architecture: str) -> None:
    """Fast: packed where the architecture can, in passes of like lengths; padded: everything in one padded batch."""
    kind, *pooling = kind.split()
    model, encoded, found = model_and_batch(kind, architecture, *pooling)
    assert model.packed is (architecture not in PADDED)
    encoded.sort(key=lambda one: one["tokens"])
    passes = Limits(tokens=300, packed=model.packed, pass_cost=10).cut([one["tokens"] for one in encoded])
    assert len(passes) > 1
    fast_loss, fast = gradients(model, [found.collate(encoded[a:b], 1) for a, b in passes])
    whole_loss, whole = gradients(model, [found.collate(encoded, 1)])
    model.encoder.set_attn_implementation("sdpa" if model.packed else "eager")
    loss, padded = gradients(model, [found.collate(encoded, 1)])
    for other_loss, other in ((fast_loss, fast), (whole_loss, whole)):
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert float((other - padded).norm() / padded.norm()) < 1e-5
        assert float((other - padded).abs().max() / padded.abs().max()) < 1e-5


def test_sequences_of_like_lengths_attend_together_and_none_is_padded_for_long() -> None:
    lengths = (5, 60, 3, 64, 4, 5)
    table = packing.Rows.of(lengths, 64, torch.device("cpu"))
    assert [run.lengths.tolist() for run in table.runs] == [[3, 4, 5, 5], [60, 64]]
    assert [len(run.index) for run in table.runs] == [17, 124]
    ids = torch.arange(6 * 64).view(6, 64)
    assert table.pack(ids).tolist() == [64 * i + j for i in (2, 4, 0, 5, 1, 3) for j in range(lengths[i])]


@pytest.mark.parametrize(("kind", "first"), [("pair", True), ("pair mean", False), ("choice", True), ("span", False)])
def test_the_last_layer_computes_the_tokens_that_the_head_reads(kind: str, first: bool) -> None:
    """Their equal gradients do not tell; the others' keys and values are needed all the same."""
    kind, *pooling = kind.split()
    model, encoded, found = model_and_batch(kind, "xlm-roberta", *pooling)
    seen: dict[str, int] = {}
    for name, module in model.encoder.encoder.layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda *given, name=name: seen.update({name: given[-1].shape[:-1].numel()}))
    batch = found.collate(encoded, 1)
    model(**batch)
    tokens, few = sum(batch["lengths"]), len(batch["lengths"])
    parts = ("attention.self.query", "attention.self.value", "attention.output.dense", "output.dense")
    assert [seen[f"0.{part}"] for part in parts] == [tokens] * 4
    assert [seen[f"1.{part}"] for part in parts] == ([few, tokens, few, few] if first else [tokens] * 4)


def test_masks_are_of_the_scores_type_and_lie_as_gpus_want_them() -> None:
    run = packing.Rows.of((3, 1, 5), 5, torch.device("cpu")).runs[0]
    for window, shape in ((None, (3, 1, 1, 5)), (2, (3, 1, 5, 5))):
        made = run.mask(window, torch.bfloat16)
        assert made is not None and (made.dtype, made.shape) == (torch.bfloat16, shape)
        assert made.stride(-1) == 1 and all(size % 8 == 0 for size in made.stride()[:-1])
    assert run.mask(None, torch.float32)[1, 0, 0].tolist() == [0, 0, 0, -math.inf, -math.inf]  # type: ignore[index]


def test_under_autocast_the_fast_path_keeps_to_the_padded_loss() -> None:
    model, encoded, found = model_and_batch("pair", "xlm-roberta")
    batch = found.collate(encoded, 1)
    with torch.autocast("cpu", torch.bfloat16):
        fast, _ = gradients(model, [batch])
        model.encoder.set_attn_implementation("sdpa")
        padded, _ = gradients(model, [batch])
    assert fast == pytest.approx(padded, rel=0.02)


def test_cudnns_attention_is_off() -> None:
    assert not torch.backends.cuda.cudnn_sdp_enabled()


class Launches(TorchDispatchMode):
    """Counts operations that compute or copy: on a GPU each is launched by the host."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_asked_for_few_more_operations_than_with_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small passes of large models wait for the host, so there sequences attend in few runs, mostly one."""
    monkeypatch.setitem(packing._RUN_COST, "cpu", packing._RUN_COST["cuda"])
    # Without dropout attention is one operation also here.
    config = hf.XLMRobertaConfig(**SMALL | {"num_hidden_layers": 6}, attention_probs_dropout_prob=0.0)
    model = TaskModel(hf.XLMRobertaModel(config), [HeadSpec("t", "tagging", ("A", "B"), "cls")])
    _, encoded, found = model_and_batch("tagging", "xlm-roberta")
    batch = found.collate(encoded, 1)
    assert len(packing.Rows.of(batch["lengths"], 64, torch.device("cpu")).runs) == 1
    with Launches() as packed:
        gradients(model, [batch])
    model.encoder.set_attn_implementation("sdpa")
    with Launches() as padded:
        gradients(model, [batch])
    assert 0 < packed.number < 1.25 * padded.number


class NoWait(TorchDispatchMode):
    """Refuses what a GPU would have the host wait for: copies to it that are not asynchronous."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu" and found.device.type != "cpu":
            assert kwargs.get("non_blocking"), "the host waits for a copy"
        return found


KINDS = ["pair", "choice", "span", "tagging"]
PASSES = [("mlm", "xlm-roberta"), *itertools.product(KINDS, sorted(set(ENCODERS) - PADDED))]


@pytest.mark.parametrize(("kind", "architecture"), PASSES)
def test_a_step_of_a_training_waits_for_no_device(kind: str, architecture: str, tmp_path: Path) -> None:
    """On torch's device without data, where reading back fails: on a GPU the host can queue all passes ahead."""
    model, encoded, found = model_and_batch(kind, architecture)
    trainer = trainer_of(model, encoded, found, tmp_path)
    device = trainer.args.__dict__["_setup_devices"] = torch.device("meta")
    model.to(device)
    with NoWait():
        (passes,), items = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, device)
        assert len(passes) > 1
        assert trainer.training_step(model, passes, items).device == device
    assert all(p.grad is not None for p in model.heads.parameters())


def trainer_of(model: TaskModel, encoded: list[Any], found: features.Features, work: Path) -> TaskTrainer:
    """Takes one step on all inputs."""
    (spec,), size = model.specs.values(), len(encoded)
    compute = {"device": "cpu", "ranks": 1, "deepspeed": None, "report_to": []}
    args = arguments(HYPER, compute, steps=1, examples=size, seed=1, precision="fp32", work=work)
    inputs = Inputs([TaskData("t", spec.kind, found, encoded, size, spec.labels, HYPER)], 1)
    batches = MicroBatches(inputs.lengths(), Schedule([size], [size], [1.0], 1, 1), Limits(tokens=300, packed=True))
    return TaskTrainer(model, args, inputs, batches, [])
