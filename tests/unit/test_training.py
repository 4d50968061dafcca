"""One training, from a checkpoint to a checkpoint: what may change its result and what may not."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import table, tokenizer
from trainings import curve, distance, job, pair_rows, start, weights, write_data
from transformers import AutoModel

from xstilts.config import DeepSpeed, Hyperparameters
from xstilts.errors import ConfigError, DataError, UserError
from xstilts.models import checkpoint, packing
from xstilts.tasks.features import pair
from xstilts.training import deepspeed, steps
from xstilts.training.batching import Limits, MicroBatches, Order, Schedule
from xstilts.training.run import train
from xstilts.training.selection import criterion


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_a_training_starts_without_what_it_never_uses() -> None:
    code = (
        "import sys, xstilts.training.run; print({'datasets', 'pandas', 'deepspeed', 'snakemake'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- batches


@pytest.mark.parametrize(
    ("batch", "ranks", "micro", "expected"),
    [(32, 1, None, (32, 1)), (32, 1, 8, (8, 4)), (32, 4, 8, (8, 1)), (32, 2, 4, (4, 4)), (4, 1, 8, (4, 1))],
)
def test_split_gives_the_batch_exactly(batch: int, ranks: int, micro: int | None, expected: tuple[int, int]) -> None:
    assert steps.split(batch, ranks, micro) == expected
    assert expected[0] * expected[1] * ranks == batch


def test_a_split_that_cannot_be_names_the_nearest_that_can() -> None:
    with pytest.raises(ConfigError, match=r"compute\.ranks: 3 ranks cannot share a batch of 32; use 2 or 4"):
        steps.split(32, 3, None)
    with pytest.raises(ConfigError, match=r"compute\.micro_batch: passes of 5 .*; use 4 or 6"):
        steps.split(12, 1, 5)


def test_every_epoch_is_a_permutation_of_all_examples() -> None:
    order = Order(10, seed=3)
    first, second = order.take(0, 10), order.take(10, 20)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert order.take(7, 14) == [*first[7:], *second[:4]]
    assert Order(10, seed=4).take(0, 10) != first
    assert Counter(order.take(0, 35)).most_common()[0][1] == 4


@pytest.mark.parametrize("packed", [False, True])
def test_a_step_has_the_same_examples_however_it_is_dealt_out(packed: bool) -> None:
    lengths = np.random.default_rng(0).integers(3, 30, size=21).tolist()
    schedule = Schedule([21], [8], [1.0], steps=5, seed=1)

    def steps(ranks: int, **limits: Any) -> list[list[int]]:
        bounds = Limits(packed=packed, **limits)
        dealt = [list(MicroBatches(lengths, schedule, bounds, ranks, rank)) for rank in range(ranks)]
        assert [[len(one) for one in step] for step in dealt[0]] == [[len(one) for one in step] for step in dealt[-1]]
        for one in (one for rank in dealt for step in rank for one in step):
            assert len(one) <= limits.get("examples", 8)
            assert len(one) == 1 or len(one) * max(lengths[i] for i in one) <= limits.get("tokens", math.inf)
        return [sorted(i for rank in dealt for one in rank[step] for i in one) for step in range(5)]

    expected = [sorted(Order(21, 1).take(8 * step, 8 * step + 8)) for step in range(5)]
    assert (
        steps(1)
        == steps(1, examples=3)
        == steps(4, tokens=40)
        == steps(2, examples=1)
        == steps(1, tokens=20)
        == expected
    )


def test_tokens_are_those_of_the_examples_seen() -> None:
    lengths = np.random.default_rng(0).integers(3, 30, size=21).tolist()
    batches = MicroBatches(lengths, Schedule([21], [8], [1.0], steps=5, seed=1))
    assert len(list(batches)) == len(batches) == 5
    for step in range(1, 6):
        assert batches.tokens(step) == sum(lengths[i] for i in Order(21, 1).take(0, 8 * step))


def test_passes_are_cut_where_that_costs_least() -> None:
    """Against all the ways there are to cut seven lengths."""
    lengths, cost = [2, 3, 3, 9, 10, 30, 31], 12

    def total(bounds: list[tuple[int, int]]) -> int:
        return sum(cost + (b - a) * lengths[b - 1] for a, b in bounds)

    every = [[0, *inner, 7] for n in range(7) for inner in itertools.combinations(range(1, 7), n)]
    assert total(Limits(pass_cost=cost).cut(lengths)) == min(total(list(itertools.pairwise(cuts))) for cuts in every)
    assert Limits(packed=True).cut(lengths) == [(0, 7)]
    assert Limits(packed=True, tokens=31).cut(lengths)[-2:] == [(5, 6), (6, 7)]


def test_steps_of_epochs_are_rounded_up_once() -> None:
    hyper = Hyperparameters(learning_rate=1, batch=8, epochs=3, max_length=24)
    assert steps.total_steps(21, hyper) == 8  # 63 examples
    assert steps.total_steps(21, hyper.model_copy(update={"epochs": None, "steps": 5})) == 5


# --- one loss, whatever the split


@pytest.mark.parametrize("kind", ["pair", pytest.param("tagging", marks=pytest.mark.slow)])
def test_micro_batches_change_nothing(data: Path, tmp_path: Path, kind: str) -> None:
    """Also with clipping at work, which must see the whole step's gradient; tags per sentence differ widely."""
    hyper = {"max_grad_norm": 0.05}
    for name, micro in (("whole", None), ("ones", 1), ("fours", 4)):
        train(job(data, tmp_path / name, kind, hyper=hyper, compute={"micro_batch": micro}))
    assert distance(tmp_path / "whole", tmp_path / "ones") < 1e-4
    assert distance(tmp_path / "whole", tmp_path / "fours") < 1e-4
    for one, other in zip(curve(tmp_path / "whole"), curve(tmp_path / "ones"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert one["grad_norm"] > 0.05


def test_a_training_without_padding_ends_where_the_padded_one_does(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(job(data, tmp_path / "packed"))
    assert "padding" not in capsys.readouterr().err
    monkeypatch.setattr(packing, "_POSITIONS", {})
    train(job(data, tmp_path / "padded"))
    assert "xlm-roberta computes with padding" in capsys.readouterr().err
    assert distance(tmp_path / "packed", tmp_path / "padded") < 1e-4
    hyper = Hyperparameters(learning_rate=1, batch=1, epochs=1, max_length=24)
    batch = pair.collate(pair.encode(pair_rows(50, 9), tokenizer("bpe-metaspace"), hyper, ["other", "same"]), 1)
    with torch.no_grad():
        packed, padded = (checkpoint.load(tmp_path / name)(**batch)["logits"] for name in ("packed", "padded"))
    assert packed.argmax(-1).equal(padded.argmax(-1))


def test_the_first_loss_is_the_mean_over_labelled_items(data: Path, tmp_path: Path) -> None:
    """A learning rate of (nearly) zero keeps the weights, so that the loss can be computed again afterwards."""
    train(job(data, tmp_path, hyper={"learning_rate": 1e-30, "batch": 50, "steps": 1}, compute={"micro_batch": 10}))
    made, (entry,) = checkpoint.load(tmp_path), curve(tmp_path)
    hyper = Hyperparameters(learning_rate=1, batch=1, epochs=1, max_length=24)
    encoded = pair.encode(pair_rows(50, 0), tokenizer("bpe-metaspace"), hyper, ["other", "same"])
    with torch.no_grad():
        outputs = made(**pair.collate(encoded, 1))
    assert entry["loss"] == pytest.approx((outputs["loss"] / 50).item(), abs=1e-5)
    assert entry["tokens"] == sum(one["tokens"] for one in encoded)


# --- determinism, records, schedule


def test_the_same_seed_gives_the_same_bits_and_another_does_not(data: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        train(job(data, tmp_path / name, seed=seed))
    assert distance(tmp_path / "one", tmp_path / "again") == 0
    assert distance(tmp_path / "one", tmp_path / "other") > 0
    assert curve(tmp_path / "one") == curve(tmp_path / "again")


def test_the_checkpoint_opens_and_its_record_tells_what_was_done(data: Path, tmp_path: Path) -> None:
    train(job(data, tmp_path / "out", hyper={"steps": None, "epochs": 2}))
    AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False)
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert (record["rows"], record["encoded"], record["steps"], record["selected_step"]) == (50, 50, 13, 13)
    assert record["epochs"] == pytest.approx(13 * 8 / 50)
    assert record["step"] == "finetune" and record["dev"] is None and record["wall_seconds"] > 0
    assert record["tokens"] == curve(tmp_path / "out")[-1]["tokens"]
    assert checkpoint.spec(tmp_path / "out").labels == ("other", "same")
    assert not list((tmp_path / "out-work").glob("*"))


def test_the_head_is_fresh_and_the_encoder_is_not(data: Path, tmp_path: Path) -> None:
    quick = {"learning_rate": 1e-30, "steps": 1}
    train(job(data, tmp_path / "first"))
    train(job(data, tmp_path / "second", hyper=quick, checkpoint=str(tmp_path / "first")))
    train(job(data, tmp_path / "fresh", hyper=quick))
    first, second, fresh = (weights(tmp_path / name) for name in ("first", "second", "fresh"))
    name = "encoder.layer.0.output.dense.weight"
    assert first[name].allclose(second[name]) and not first[name].allclose(fresh[name])
    head = "pair.dense.weight"
    assert second[head].allclose(fresh[head]) and not second[head].allclose(first[head])


def test_learning_rates_follow_the_schedule(data: Path, tmp_path: Path) -> None:
    train(job(data, tmp_path / "linear", hyper={"steps": 10, "warmup": 0.2}))
    rates = [entry["learning_rate"] for entry in curve(tmp_path / "linear")]
    assert rates == pytest.approx([0, 0.005, 0.01, *(0.01 * k / 8 for k in range(7, 0, -1))], abs=1e-12)
    train(job(data, tmp_path / "constant", hyper={"steps": 4, "warmup": 2, "schedule": "constant"}))
    assert [entry["learning_rate"] for entry in curve(tmp_path / "constant")] == pytest.approx([0, 0.005, 0.01, 0.01])


def test_biases_and_norms_do_not_decay(data: Path, tmp_path: Path) -> None:
    """With decay but (nearly) no gradient step, exactly the decayed parameters shrink."""
    start = {**load_file(data / "backbone" / "model.safetensors")}
    hyper = {"weight_decay": 1e10, "learning_rate": 1e-12, "steps": 1, "warmup": 0, "max_grad_norm": 1e-12}
    train(job(data, tmp_path, hyper=hyper))
    for name, value in load_file(tmp_path / "model.safetensors").items():
        kept = name.endswith("bias") or "LayerNorm" in name
        assert value.allclose(start[name] * (1.0 if kept else 0.99), atol=1e-6), name


# --- selection


def test_best_keeps_the_best_look_and_last_takes_none(data: Path, tmp_path: Path) -> None:
    selection = {"checkpoint": "best", "every_steps": 4, "patience": None, "examples": 20}
    train(job(data, tmp_path / "best", "tagging", hyper={"steps": 14, "selection": selection}))
    looks = {e["step"]: e["dev"] for e in curve(tmp_path / "best") if "dev" in e}
    assert list(looks) == [4, 8, 12, 14]
    record = json.loads((tmp_path / "best" / "record.json").read_text(encoding="utf-8"))
    best = max(looks.values())
    assert record["dev"] == best and record["selected_step"] == min(step for step in looks if looks[step] == best)
    train(job(data, tmp_path / "last", "tagging", hyper={"steps": 14}, dev=[]))
    assert not any("dev" in entry for entry in curve(tmp_path / "last"))


def test_patience_stops_and_the_best_weights_come_back(data: Path, tmp_path: Path) -> None:
    """Dev is all of one class, and the rate is so high that training leaves the best look behind at once."""
    rows = [{**row, "label": "same"} for row in pair_rows(10, 5)]
    dev = [table(tmp_path / "dev.parquet", rows)]
    selection = {"checkpoint": "best", "every_steps": 1, "patience": 2, "examples": None}
    hyper = {"steps": 30, "warmup": 0, "learning_rate": 1e-30, "selection": selection}
    train(job(data, tmp_path / "out", hyper=hyper, dev=dev))
    looks = [e["step"] for e in curve(tmp_path / "out") if "dev" in e]
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    # Nothing is learnt, so the first look stays the best: two more, and it ends.
    assert looks == [1, 2, 3] and record["steps"] == 3 and record["selected_step"] == 1
    train(job(data, tmp_path / "one", hyper={**hyper, "steps": 1}, dev=dev))
    assert distance(tmp_path / "out", tmp_path / "one") < 1e-6


def test_the_weights_of_the_best_look_are_published(data: Path, tmp_path: Path) -> None:
    selection = {"checkpoint": "best", "every_steps": 3, "patience": None, "examples": None}
    common = {"learning_rate": 0.2, "schedule": "constant", "warmup": 0}
    train(job(data, tmp_path / "best", hyper={**common, "steps": 9, "selection": selection}))
    step = json.loads((tmp_path / "best" / "record.json").read_text(encoding="utf-8"))["selected_step"]
    train(job(data, tmp_path / "stopped", hyper={**common, "steps": step}))
    assert distance(tmp_path / "best", tmp_path / "stopped") == 0


def test_criteria_are_functions_of_golds_and_predictions() -> None:
    assert criterion("classification.accuracy")(["a", "b"], ["a", "a"]) == 50
    assert criterion("tagging.token_accuracy")([["A", "B"]], [["A", "A"]]) == 50
    assert criterion("squad.mean_f1_em")([["the cat"], []], ["cat", "x"]) == 50


# --- memory, and following from outside


def test_activation_checkpointing_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(job(data, tmp_path / "kept"))
    train(job(data, tmp_path / "again", compute={"activation_checkpointing": True}))
    assert distance(tmp_path / "kept", tmp_path / "again") == 0


@pytest.mark.slow
def test_a_training_can_be_followed_in_tensorboard(data: Path, tmp_path: Path) -> None:
    train(job(data, tmp_path / "plain"))
    train(job(data, tmp_path / "followed", compute={"report_to": ["tensorboard"]}))
    assert list((tmp_path / "followed-tensorboard").glob("events.*"))
    assert not (tmp_path / "plain-tensorboard").exists()
    assert distance(tmp_path / "plain", tmp_path / "followed") == 0


# --- mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compute": {"ranks": 2}}, r"compute\.ranks: 2 ranks, but 1 process"),
        ({"precision": "fp16"}, r"compute\.precision: a CPU cannot train in fp16"),
        ({"compute": {"device": "cuda"}}, r"compute\.device: no GPU is visible; ask the scheduler"),
        ({"compute": {"report_to": ["wandb"]}}, r"compute\.report_to: wandb is not installed; pip install wandb"),
        ({"compute": {"micro_batch": 3}}, r"compute\.micro_batch: .*use 2 or 4"),
        ({"hyper": {"max_length": 65}}, r"recipe\.finetune\.pair\.max_length: 65 tokens, but the backbone has 64"),
        ({"labels": ["same", "different"]}, r"pair\.parquet: label 'other' is none of the task's"),
        ({"train": []}, "no file: no rows to make inputs of"),
        ({"hyper": {"selection": {"checkpoint": "best"}}, "dev": []}, "no file: the dev part has no rows"),
    ],
)
def test_mistakes_are_one_line(data: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(job(data, tmp_path / "out", **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert isinstance(caught.value, (ConfigError, DataError, UserError))


def test_more_ranks_than_visible_devices_are_refused_before_anything_is_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    one = job(data, tmp_path / "out", checkpoint="nowhere", compute={"device": "cuda", "ranks": 4})
    with pytest.raises(
        ConfigError, match=r"compute\.ranks: 4 ranks, but 2 GPU\(s\) are visible; ask the scheduler for 4"
    ):
        train(one)


def test_a_loss_that_is_not_a_number_ends_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss is nan at step \d; lower the learning rate"):
        train(job(data, tmp_path / "out", hyper={"learning_rate": 1e30, "max_grad_norm": 1e30, "warmup": 0}))
    assert not (tmp_path / "out").exists()


# --- DeepSpeed and ranks


def test_deepspeed_configuration() -> None:
    made = deepspeed.configuration(DeepSpeed(zero_stage=3, offload=True), "bf16")
    assert made["zero_optimization"]["stage"] == 3
    assert made["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert made["bf16"]["enabled"] and not made["fp16"]["enabled"]
    assert "optimizer" not in made and made["gradient_clipping"] == "auto"
    assert "offload_optimizer" not in deepspeed.configuration(DeepSpeed(), "fp32")["zero_optimization"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_bf16_under_deepspeed_publishes_fp32_weights_and_compiles_nothing(
    data: Path, tmp_path: Path, stage: int
) -> None:
    train(job(data, tmp_path / "plain", "tagging", precision="bf16"))
    compute = {"deepspeed": DeepSpeed(zero_stage=stage).model_dump()}
    process = start(tmp_path, job(data, tmp_path / "sharded", "tagging", precision="bf16", compute=compute))
    log = tmp_path / "log"
    assert process.wait(300) == 0, log.read_text(encoding="utf-8")[-2000:]
    assert "built successfully" not in log.read_text(encoding="utf-8")
    assert {value.dtype for value in weights(tmp_path / "sharded").values()} == {torch.float32}
    assert AutoModel.from_pretrained(tmp_path / "sharded", add_pooling_layer=False).dtype == torch.float32
    assert any(value.ne(value.bfloat16()).any() for value in weights(tmp_path / "sharded").values())
    assert distance(tmp_path / "plain", tmp_path / "sharded") < 0.05


ZERO: list[tuple[int, dict[str, Any] | None]] = [
    (2, None),
    *((2, {"zero_stage": stage}) for stage in (0, 1, 2)),
    (2, {"zero_stage": 3, "offload": True}),
    (1, {"zero_stage": 2}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "settings"), ZERO)
def test_ranks_and_stages_train_as_one_process(
    data: Path, tmp_path: Path, ranks: int, settings: dict[str, Any] | None
) -> None:
    """Plain data parallelism and every ZeRO stage, best checkpoint included: losses and weights within 1e-4 in fp32."""
    selection = {"checkpoint": "best", "every_steps": 3, "patience": None, "examples": None}
    hyper = {"selection": selection, "max_grad_norm": 0.05}
    train(job(data, tmp_path / "one", "tagging", hyper=hyper))
    compute = {"ranks": ranks, "micro_batch": 2, "deepspeed": settings and DeepSpeed(**settings).model_dump()}
    process = start(tmp_path, job(data, tmp_path / "two", "tagging", hyper=hyper, compute=compute))
    assert process.wait(300) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    AutoModel.from_pretrained(tmp_path / "two", add_pooling_layer=False)
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-4
    for one, other in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert one["step"] == other["step"] and ("dev" in one) == ("dev" in other)
        assert one.get("loss", math.inf) == pytest.approx(other.get("loss", math.inf), abs=1e-4)
