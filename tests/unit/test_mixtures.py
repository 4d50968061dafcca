"""Several tasks in one training: rates, lengths, what each gets, and masked-language modelling as one of them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import table, tokenizer
from trainings import curve, distance, job, record, start, weights, write_data
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from xstilts.errors import ConfigError, StoppedError, UserError
from xstilts.models import masked_lm
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel
from xstilts.schema.arms import Mixture
from xstilts.schema.training import DeepSpeed, Hyperparameters
from xstilts.tasks.features import mlm as mlm_features
from xstilts.tasks.features.common import IGNORED
from xstilts.training import trainer
from xstilts.training.batching import Schedule, draws
from xstilts.training.masking import mask, sample
from xstilts.training.progress import Progress
from xstilts.training.run import train
from xstilts.training.shuffling import shuffled
from xstilts.training.steps import mixed_steps, rates

# Examples of the nine intermediate training sets (shared/spec/x-stilts.md, §1.2; public releases).
SIZES = {
    "anli_plus": 1_104_934,
    "mnli": 392_702,
    "qqp": 363_846,
    "squad_v2": 130_319,
    "squad_v1": 87_599,
    "hellaswag": 39_905,
    "ccg": 38_015,
    "cosmosqa": 25_262,
    "commonsenseqa": 9_741,
}
CHI_SQUARE_8 = 26.124  # its 0.999 quantile at eight degrees of freedom


# --- rates, draws, lengths


def test_realised_draws_match_the_formula() -> None:
    capped = np.minimum(list(SIZES.values()), 2**17)
    expected = 100_000 * capped / capped.sum()
    drawn = np.bincount(draws(rates(list(SIZES.values()), Mixture()), 100_000, seed=1), minlength=9)
    assert ((drawn - expected) ** 2 / expected).sum() < CHI_SQUARE_8


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (SIZES, (0.181, 0.181, 0.181, 0.180, 0.121, 0.055, 0.0525, 0.035, 0.013)),
        (
            ("anli_plus", "qqp", "hellaswag", "ccg", "cosmosqa", "commonsenseqa"),
            (0.349, 0.349, 0.106, 0.101, 0.068, 0.026),
        ),
    ],
)
def test_capped_rates_are_those_derived_from_the_paper(tasks: Sequence[str], expected: tuple[float, ...]) -> None:
    assert rates([SIZES[task] for task in tasks], Mixture()) == pytest.approx(expected, abs=0.0011)


def test_mlm_shares_are_those_derived_from_the_paper() -> None:
    expected = {"anli_plus": 0.50, "mnli": 0.50, "qqp": 0.50, "squad_v2": 0.50, "squad_v1": 0.60}
    expected |= {"hellaswag": 0.77, "ccg": 0.78, "cosmosqa": 0.84, "commonsenseqa": 0.93}
    for task, share in expected.items():
        assert rates([SIZES[task], 2_000_000], Mixture())[1] == pytest.approx(share, abs=0.006), task
    assert rates([*SIZES.values(), 2_000_000], Mixture())[-1] == pytest.approx(0.15, abs=0.005)


def test_other_rules_of_sampling() -> None:
    sizes = [100, 300, 1600]
    assert rates(sizes, Mixture(sampling="uniform")) == pytest.approx([1 / 3] * 3)
    assert rates(sizes, Mixture(sampling="proportional", cap=1)) == pytest.approx([0.05, 0.15, 0.8])
    assert rates(sizes, Mixture(sampling="temperature", temperature=2, cap=400)) == pytest.approx(
        [10 / 47.32, 17.32 / 47.32, 20 / 47.32], abs=1e-4
    )


def test_lengths_by_name() -> None:
    """Own epochs are kept beside MLM; capped counts give `epochs` passes over min(e, cap) in each task's batches."""
    sizes, batches = [1000, 3000], [10, 30]
    assert mixed_steps(sizes, [0.25, 0.75], [100, None], Mixture(cap=3000), batches) == 400
    assert mixed_steps(sizes, [0.25, 0.75], [100, 50], Mixture(), batches) == 150
    capped = Mixture(length="capped_counts", epochs=3, cap=2000)
    assert mixed_steps(sizes, [1 / 3, 2 / 3], [1, 1], capped, batches) == 500


def test_a_step_is_of_one_task_and_its_examples_are_the_next_of_that_task() -> None:
    schedule = Schedule([7, 5], [3, 2], [0.5, 0.5], steps=40, seed=1)
    taken: dict[int, list[int]] = {0: [], 1: []}
    for step in range(40):
        task, examples = schedule.examples(step)
        assert len(examples) == (3, 2)[task] and all((i >= 7) == bool(task) for i in examples)
        taken[task] += examples
    for task, size in ((0, 7), (1, 5)):
        epochs = [taken[task][i : i + size] for i in range(0, len(taken[task]) - size, size)]
        assert all(len(set(epoch)) == size for epoch in epochs) and len(epochs) > 3
    again = Schedule([7, 5], [3, 2], [0.5, 0.5], steps=80, seed=1)
    assert [again.examples(step) for step in range(40)] == [schedule.examples(step) for step in range(40)]
    assert sum(schedule.counts(40)) == 40 and schedule.counts(0) == [0, 0]


# --- trainings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("data"))
    for code, number in (("en", 40), ("qaa", 9)):
        rows = [{"id": str(i), "text": f"the {code} cat sat on the mat and ran {i}"} for i in range(number)]
        table(folder / f"mlm.{code}.parquet", rows)
    return folder


def mixed(data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Pairs in batches of 8 and tagging in batches of 4, ten steps of each alone."""
    told = []
    for kind, batch in (("pair", 8), ("tagging", 4)):
        one = job(data, output, kind, hyper={"batch": batch, "steps": 10})
        told.append({key: one[key] for key in ("task", "kind", "labels", "criterion", "train", "dev", "hyper")})
    return {**job(data, output, **changes), "name": "intermediate/multi", "tasks": told, "mixture": {}}


def text_task(data: Path, **text: Any) -> dict[str, Any]:
    hyper = Hyperparameters(learning_rate=1, batch=4, steps=10, max_length=20)
    settings = {"sentences": 100, "alpha": 0.3, "mask_probability": 0.15, "head": "fresh", **text}
    paths = [str(data / f"mlm.{code}.parquet") for code in ("en", "qaa")]
    return {
        "task": "mlm",
        "kind": "mlm",
        "labels": [],
        "criterion": None,
        "train": paths,
        "dev": [],
        "hyper": hyper.model_dump(mode="json"),
        "text": settings,
    }


def test_one_encoder_is_trained_under_a_head_for_each_task(data: Path, tmp_path: Path) -> None:
    selection = {"checkpoint": "best", "every_steps": 10, "patience": None, "examples": None}
    train(mixed(data, tmp_path / "out", hyper={"selection": selection}))
    told, steps = record(tmp_path / "out"), 20
    mixture = told["mixture"]
    assert told["steps"] == steps == sum(one["steps"] for one in mixture.values())
    assert [mixture[task]["rate"] for task in ("pair", "tagging")] == [0.5, 0.5]
    assert mixture["tagging"]["epochs"] == pytest.approx(mixture["tagging"]["steps"] * 4 / 50)
    assert sum(one["tokens"] for one in mixture.values()) == told["tokens"]
    assert {name.split(".")[0] for name in weights(tmp_path / "out") if "out." in name} >= {"pair", "tagging"}
    losses = [entry for entry in curve(tmp_path / "out") if "loss" in entry]
    assert all(entry["loss"] == pytest.approx(entry.get("loss:pair", entry.get("loss:tagging"))) for entry in losses)
    assert Counter(key for entry in losses for key in entry if ":" in key) == {
        f"loss:{task}": one["steps"] for task, one in mixture.items()
    }
    looks = [entry for entry in curve(tmp_path / "out") if "dev" in entry]
    assert [entry["step"] for entry in looks] == [10, 20] and 0 <= told["dev"] <= 100


def test_passes_of_several_sizes_change_nothing(data: Path, tmp_path: Path) -> None:
    """A step of the smaller batch takes fewer passes than the other task's."""
    for name, micro in (("whole", None), ("twos", 2)):
        train(mixed(data, tmp_path / name, compute={"micro_batch": micro}, hyper={"max_grad_norm": 0.05}))
    assert distance(tmp_path / "whole", tmp_path / "twos") < 1e-4
    for one, other in zip(curve(tmp_path / "whole"), curve(tmp_path / "twos"), strict=True):
        assert {k: v for k, v in one.items() if "loss" in k} == pytest.approx(
            {k: v for k, v in other.items() if "loss" in k}, abs=1e-4
        )


MIXED_ZERO: list[tuple[int, dict[str, Any] | None]] = [
    (2, None),
    *((2, {"zero_stage": stage}) for stage in (0, 1, 2, 3)),
    *((2, {"zero_stage": stage, "offload": True}) for stage in (2, 3)),
]
# DeepSpeed's stage 3 leaves small parameters, which here are all, whole on every rank: its own key shards them.
SHARDED = """
from xstilts.job import main
from xstilts.training import deepspeed
original = deepspeed.configuration
def configuration(*given):
    made = original(*given)
    made["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return made
deepspeed.configuration = configuration
main('xstilts.training.run:train')
"""


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of three tasks, trained by one process."""
    output = tmp_path_factory.mktemp("alone") / "out"
    train(three(data, output))
    return output


def three(data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Pairs, tagging and MLM; clipped, so that the gradient's norm counts."""
    one = mixed(data, output, hyper={"max_grad_norm": 0.05}, **changes)
    return {**one, "tasks": [*one["tasks"], text_task(data)]}


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "settings"), MIXED_ZERO)
def test_ranks_and_stages_train_a_mixture_as_one_process(
    data: Path, alone: Path, tmp_path: Path, ranks: int, settings: dict[str, Any] | None
) -> None:
    """A head that a step does not use takes the same step everywhere, and counts nothing in the gradient's norm."""
    compute = {"ranks": ranks, "micro_batch": 1, "deepspeed": settings and DeepSpeed(**settings).model_dump()}
    process = start(tmp_path, three(data, tmp_path / "out", compute=compute), SHARDED)
    assert process.wait(240) == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    # Adam turns the last bits of a gradient near zero (a rare token's bias) into a step; losses tell what was learned.
    for one, other in zip(curve(alone), curve(tmp_path / "out"), strict=True):
        assert losses(one) == pytest.approx(losses(other), abs=1e-4)
    assert distance(alone, tmp_path / "out") < 2e-3


def losses(entry: dict[str, Any]) -> dict[str, float]:
    """An entry's losses, of all and of each task."""
    return {key: value for key, value in entry.items() if "loss" in key}


def test_a_stopped_mixture_goes_on_with_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LOOKS", 3)  # losses of several steps wait for the next entry of the curve
    train(mixed(data, tmp_path / "whole"))
    original = Progress.on_step_end

    def stop(self: Progress, args: Any, state: Any, control: Any, **more: Any) -> None:
        original(self, args, state, control, **more)
        if state.global_step == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_step_end", stop)
        with pytest.raises(StoppedError, match="at step 8"):
            train(mixed(data, tmp_path / "out"))
    train(mixed(data, tmp_path / "out"))
    assert distance(tmp_path / "out", tmp_path / "whole") == 0
    assert curve(tmp_path / "out") == curve(tmp_path / "whole")
    assert record(tmp_path / "out")["mixture"] == record(tmp_path / "whole")["mixture"]


# --- masked-language modelling


def test_mlm_is_one_more_task_with_as_much_text_as_it_needs(data: Path, tmp_path: Path) -> None:
    one = mixed(data, tmp_path / "out")
    train({**one, "tasks": [one["tasks"][0], text_task(data)]})
    mixture = record(tmp_path / "out")["mixture"]
    # 50 pairs beside 100 sentences: a third of the steps, so that the pairs' ten steps become thirty.
    assert mixture["pair"]["rate"] == pytest.approx(1 / 3, abs=1e-6) and record(tmp_path / "out")["steps"] == 30
    assert mixture["mlm"]["encoded"] == mixture["mlm"]["steps"] * 4 and mixture["mlm"]["size"] == 100
    assert any("loss:mlm" in entry for entry in curve(tmp_path / "out"))


def test_mlm_only_takes_the_steps_of_the_task_and_nothing_else_of_it(data: Path, tmp_path: Path) -> None:
    one = mixed(data, tmp_path / "out")
    train({**one, "tasks": [one["tasks"][0], text_task(data)], "mlm_only": True})
    told = record(tmp_path / "out")
    assert told["steps"] == 10 and told["encoded"] == 40
    assert not [name for name in weights(tmp_path / "out") if name.startswith("pair")]


def test_masks_are_bert_s() -> None:
    words = tokenizer("bpe-metaspace")
    lines = [" ".join(["the cat sat on the mat and the dog ran away"] * 4)] * 1000
    encoded = mask(lines, words, 60, 0.15, seed=1)
    ids = np.concatenate([one["input_ids"] for one in encoded])
    labels = np.concatenate([one["labels"] for one in encoded])
    special = np.isin(words(lines[0])["input_ids"], words.all_special_ids)
    original = np.tile(words(lines[0])["input_ids"], len(lines))
    chosen = labels != IGNORED
    assert not chosen[np.tile(special, len(lines))].any()
    assert (labels[chosen] == original[chosen]).all() and (ids[~chosen] == original[~chosen]).all()
    assert chosen.sum() / (~np.tile(special, len(lines))).sum() == pytest.approx(0.15, abs=0.01)
    assert (ids[chosen] == words.mask_token_id).mean() == pytest.approx(0.8, abs=0.015)
    assert (ids[chosen] == original[chosen]).mean() == pytest.approx(0.1, abs=0.015)
    assert all((np.array(one["labels"]) != IGNORED).any() for one in encoded)
    assert encoded[0]["input_ids"] != encoded[1]["input_ids"]  # every draw is masked anew


def test_languages_are_drawn_by_their_sizes_to_the_power_of_alpha() -> None:
    sizes = [10_000, 100]
    drawn = sample(sizes, 0.3, 20_000, seed=1)
    shares = np.array(sizes) ** 0.3 / (np.array(sizes) ** 0.3).sum()
    assert sum(language == 0 for language, _ in drawn) / 20_000 == pytest.approx(shares[0], abs=0.015)
    lines = Counter(line for language, line in drawn if language == 1)
    assert len(lines) == 100 and max(lines.values()) - min(lines.values()) <= 1  # in turn, then again
    assert sample(sizes, 0.3, 500, seed=1) == drawn[:500]


def masked_lm_of(directory: Path) -> XLMRobertaForMaskedLM:
    words = tokenizer("bpe-metaspace")
    torch.manual_seed(0)
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = XLMRobertaForMaskedLM(
        XLMRobertaConfig(vocab_size=len(words), max_position_embeddings=66, type_vocab_size=1, **settings)
    )
    torch.nn.init.normal_(model.lm_head.bias)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return model.eval()


def test_the_head_of_the_backbone_gives_the_loss_of_the_whole_model(tmp_path: Path) -> None:
    whole, words = masked_lm_of(tmp_path), tokenizer("bpe-metaspace")
    encoded = mask(["the cat sat on the mat", "a quick fox", "where is it"], words, 20, 0.3, seed=1)
    batch = mlm_features.collate(encoded, words.pad_token_id)
    with torch.no_grad():
        theirs = whole(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")})
    ours = TaskModel(whole.roberta, [HeadSpec("mlm", "mlm", (), "mean")]).eval()
    masked_lm.load(ours.heads["mlm"], tmp_path)
    with torch.no_grad():
        made = ours(**batch)
    assert made["loss"] / made["items"] == pytest.approx(theirs.loss.item(), rel=1e-5)


def test_a_backbone_without_a_fitting_head_says_so(data: Path, tmp_path: Path) -> None:
    one = mixed(data, tmp_path / "out")
    tasks = [one["tasks"][0], text_task(data, head="backbone")]
    with pytest.raises(ConfigError, match=r"mlm\.head: .* holds no masked-language-modelling head .* `fresh`"):
        train({**one, "tasks": tasks})


def test_a_mistake_in_a_mixture_is_one_line(data: Path, tmp_path: Path) -> None:
    one = mixed(data, tmp_path / "out")
    empty = {**one["tasks"][1], "train": [table(tmp_path / "none.parquet", [])]}
    with pytest.raises(UserError, match=r"none\.parquet: no rows to make inputs of"):
        train({**one, "tasks": [one["tasks"][0], empty]})


# --- the placebo


def test_shuffled_labels_are_the_same_labels_elsewhere() -> None:
    pairs = [{"id": str(i), "text_a": "a", "text_b": "b", "label": "yes" if i % 3 else "no"} for i in range(300)]
    made = shuffled(pairs, "pair", seed=1)
    assert Counter(row["label"] for row in made) == Counter(row["label"] for row in pairs)
    assert 0.3 < np.mean([a["label"] == b["label"] for a, b in zip(made, pairs, strict=True)]) < 0.7
    assert [row["id"] for row in made] == [row["id"] for row in pairs] and made == shuffled(pairs, "pair", seed=1)
    assert made != shuffled(pairs, "pair", seed=2)


def test_shuffled_tags_answers_and_choices_fit_their_rows() -> None:
    tagged = [{"id": str(n), "tokens": ["w"] * n, "tags": [f"T{n}"] * n} for n in range(1, 9)]
    made = shuffled(tagged, "tagging", seed=1)
    assert [len(row["tags"]) for row in made] == list(range(1, 9))
    assert Counter(tag for row in made for tag in row["tags"]) == Counter(t for row in tagged for t in row["tags"])
    contexts = ["one two three four", "a much longer passage than the other one is", "short text"]
    spans = [
        {"id": c, "context": c, "question": "q", "answers": [c.split()[1]], "starts": [c.index(" ") + 1]}
        for c in contexts
    ]
    spans.append({"id": "none", "context": "no answer here", "question": "q", "answers": [], "starts": []})
    moved = shuffled(spans, "span", seed=3)
    assert sum(not row["answers"] for row in moved) == 1
    for row in moved:
        for answer, place in zip(row["answers"], row["starts"], strict=True):
            assert answer.strip() == answer != "" and row["context"].startswith(answer, place)
    choices = [{"id": str(i), "choices": ["x"] * (2 + i % 3), "label": i % 2} for i in range(30)]
    assert all(row["label"] < len(row["choices"]) for row in shuffled(choices, "choice", seed=1))
