"""What a plan would cost: costs follow the settings, records correct them, and what is not known is said."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.unit.finished import SMALL, finish, plan
from tests.workspace import ROOT

from xstilts.budget import calibrate, devices, lengths, loads, memory
from xstilts.budget import plan as budgets
from xstilts.budget.__main__ import main
from xstilts.budget.architecture import Architecture, shipped
from xstilts.budget.calibration import Calibration, Seen
from xstilts.budget.estimate import TRAININGS, Cost, Estimator
from xstilts.budget.families import Size
from xstilts.budget.figure import lanes
from xstilts.budget.lengths import Inputs, Part, inputs
from xstilts.budget.missing import Missing
from xstilts.budget.plan import Budget, budget, to_run
from xstilts.budget.report import difference, lines, plain
from xstilts.budget.statistics import Statistics
from xstilts.config import load
from xstilts.errors import UserError
from xstilts.study import Plan, Step
from xstilts.tasks.features.span import windows

ONE = {"ranks": 1, "micro_batch": None, "deepspeed": None, "threads": 1}
ORIGINAL_AND_TRANSLATION = (("mnli", "en"), ("xnli_mt", "qaa"))
LENGTHS = {"max_length": 64, "doc_stride": 16, "max_query_length": 24}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def whole(root: Path, *changes: dict[str, Any], **given: Any) -> Budget:
    made = plan(root, *changes)
    return budget(made, to_run(made), **given)


def full_study(root: Path, **changes: Any) -> Plan:
    made = Plan(load(changes), root)
    made.steps()
    return made


def step_of(made: Budget, name: str) -> Step:
    return next(step for step in made.plan.steps() if step.name == name)


# --- data


def test_a_translation_has_the_rows_and_lengths_of_its_original(tmp_path: Path) -> None:
    known = Statistics(plan(tmp_path))
    (english, german) = (known.parts([f"data/{d}/x/train.{c}.parquet"], None)[0] for d, c in ORIGINAL_AND_TRANSLATION)
    assert (english.rows, english.origin) == (german.rows, german.origin) == (6000, "shipped")
    assert english.roles == german.roles  # the mini world's languages have one length


def test_windows_of_passages_are_counted_as_they_are_cut() -> None:
    contexts, question = np.arange(5, 300), 10
    part = Part(len(contexts), {"context": lengths.quantiles(contexts), "question": [question] * 21}, "measured")
    made = inputs("span", [part], LENGTHS)
    room = LENGTHS["max_length"] - lengths.SPECIALS - question
    cut = [(b - a) + question + 4 for n in contexts for a, b in windows(int(n), room, LENGTHS["doc_stride"])]
    assert made.count == pytest.approx(len(cut), rel=0.02)
    assert made.longest.mean() == pytest.approx(np.mean(cut), rel=0.02)


def test_inputs_are_cut_at_the_longest_length_and_tagged_sentences_split() -> None:
    part = Part(10, {"text": [200.0] * 21}, "measured")
    assert set(inputs("pair", [part], LENGTHS).longest) == {64.0}
    chunks = inputs("tagging", [part], LENGTHS)
    assert chunks.count == 10 * 4  # of 62 words' tokens at most, beside two special ones
    assert chunks.tokens == pytest.approx(10 * (200 + 4 * 2))


def test_a_part_at_hand_is_measured(tmp_path: Path) -> None:
    rows = {
        "id": list("abc"),
        "text_a": ["one two", "one", "one two three"],
        "text_b": ["x", "x y", "x"],
        "label": ["e"] * 3,
    }
    pq.write_table(pa.table(rows), tmp_path / "train.en.parquet")
    count, roles = lengths.measured(
        tmp_path / "train.en.parquet", lambda texts: np.array([len(t.split()) for t in texts])
    )
    assert (count, roles["text"][0], roles["text"][10], roles["text"][-1]) == (3, 3.0, 3.0, 4.0)


def test_every_dataset_of_the_full_study_has_statistics(tmp_path: Path) -> None:
    made = full_study(tmp_path)
    assert not budget(made, to_run(made)).missing


# --- passes


def test_a_step_computes_its_tokens_in_passes_of_the_limits() -> None:
    few = Inputs(8, np.array([10.0, 20.0]), 2.0)
    by_examples = loads.passes(few, 512, {**ONE, "micro_batch": 64})
    assert (by_examples.number, by_examples.tokens, by_examples.longest) == (8, 2 * 512 * 15, 2 * 64 * 20)
    by_tokens = loads.passes(few, 512, {**ONE, "micro_tokens": 1024})
    assert (by_tokens.number, by_tokens.tokens, by_tokens.longest) == (15, 2 * 512 * 15, 1024)


def test_activation_checkpointing_computes_forward_twice_and_keeps_less() -> None:
    encoder = Architecture.of_config(shipped()["xlm-roberta-large"], "x")
    model, alike = loads.Model(encoder, "pair", 3, "bf16"), Inputs(100, np.full(10, 30.0))
    plain_step, again = (
        model.step(loads.passes(alike, 8, ONE), {**ONE, "activation_checkpointing": again}) for again in (False, True)
    )
    assert again.operations / plain_step.operations == pytest.approx(4 / 3, rel=0.01)
    kept = [memory.training(encoder, Size(0, 0), {**ONE, "activation_checkpointing": a}, "bf16") for a in (False, True)]
    assert kept[1].per_token < kept[0].per_token / 5


def test_ranks_share_a_step() -> None:
    alike = Inputs(100, np.full(10, 30.0))
    alone, shared = loads.passes(alike, 16, ONE), loads.passes(alike, 16, {**ONE, "ranks": 4})
    assert (alone.tokens, shared.tokens) == (16 * 30, 4 * 30)


# --- memory


@pytest.mark.parametrize(
    ("stage", "bytes_each"), [(0, 2 + 2 + 12), (1, 2 + 2 + 12 / 4), (2, 2 + 2 / 4 + 3), (3, 16 / 4)]
)
def test_zero_shards_what_its_stage_says(stage: int, bytes_each: float) -> None:
    encoder = Architecture.of_config(shipped()["xlm-roberta-base"], "x")
    size = Size(encoder.size.parameters, 0)
    held = memory.training(encoder, size, {"ranks": 4, "deepspeed": {"zero_stage": stage}}, "bf16")
    assert held.peak(0) == pytest.approx(bytes_each * size.parameters)


def test_a_micro_batch_that_does_not_fit_names_the_largest_that_does(tmp_path: Path) -> None:
    changes = {
        "budget": {"device": "A100-40"},
        "compute": {"micro_batch": 32},
        "recipes": {"wide": {"based_on": "jiant"}},
    }
    made = full_study(tmp_path, **changes)
    estimated = budget(made, to_run(made))
    row = next(row for row in estimated.rows if (row.phase, row.task) == ("intermediate", "hellaswag"))
    assert row.fits is None or 24 % row.fits == 0


def test_a_model_that_fits_in_no_way_gets_a_statement_and_no_number(tmp_path: Path, monkeypatch: Any) -> None:
    small = replace(devices.named("V100"), memory=8e9)
    monkeypatch.setitem(devices.table(), "V100", small)
    made = full_study(tmp_path, budget={"device": "V100"}, compute={"precision": "fp16"})
    told = lines(budget(made, to_run(made)))
    assert any("no micro-batch fits: one example takes" in line and "V100 has 8" in line for line in told)
    assert any(line.split()[:2] == ["finetune", "mnli"] and "?" in line for line in told)


# --- what is not known


def test_an_unknown_device_is_said_to_be(tmp_path: Path) -> None:
    made = full_study(tmp_path, budget={"device": "TPU"})
    with pytest.raises(Missing, match=r"device 'TPU' is not known; set budget\.device to one of H200"):
        budget(made, to_run(made))


def test_a_precision_that_the_device_lacks_is_said(tmp_path: Path) -> None:
    made = full_study(tmp_path, budget={"device": "V100"})
    assert any("V100 has no bf16" in line for line in lines(budget(made, to_run(made))))


def test_data_without_statistics_is_said_and_leaves_the_rest(tmp_path: Path) -> None:
    local = load(yaml.safe_load((ROOT / "config" / "local.yaml").read_text(encoding="utf-8")))
    made = Plan(local, tmp_path)
    made.steps()
    told = lines(budget(made, to_run(made)))
    assert any("no statistics of dataset 'sick'" in line and "snakemake all_data" in line for line in told)


def test_an_unknown_architecture_is_said(tmp_path: Path) -> None:
    made = full_study(tmp_path, backbones={"mine": {"hub": "someone/something"}})
    told = lines(budget(made, to_run(made)))
    assert any("architecture of someone/something is not known yet" in line for line in told)


def translating(root: Path, rows: int = 1000, **given: Any) -> Cost:
    """What translating MNLI's first rows into German costs on an A100."""
    made = {"of": "mnli", "hub": "facebook/nllb-200-distilled-600M", "codes": {"de": "deu_Latn"}, **given}
    use = {"task": "mnli", "languages": ["de"], "translated": "made"}
    study = {
        "data": {"translations": {"made": made}, "datasets": {"mnli": {"limit": {"train": rows}}}},
        "intermediates": {"none": {}, "mnli-de": {"tasks": [use]}},
        "targets": {"xnli": {"languages": ["en", "de"]}},
    }
    wanted = Plan(load(study), root, scope="all")
    return Estimator(wanted, devices.named("A100-80")).cost(wanted.translate("made", "de"))


def test_a_translation_costs_its_texts_and_beams(tmp_path: Path) -> None:
    few, many = (translating(tmp_path, rows=rows) for rows in (100_000, 200_000))
    start = 2 * few.seconds - many.seconds  # of the job, and to fetch the model
    assert 40 < start < 120 and few.missing is None and few.devices == 1
    large, wide = (translating(tmp_path, rows=100_000, batch=1024, beams=beams) for beams in (1, 4))
    assert wide.seconds > 1.5 * large.seconds  # a small batch waits for its passes, not for their operations
    assert translating(tmp_path, rows=100_000, batch=16).seconds > 2 * few.seconds  # passes of a quarter of the texts
    assert translating(tmp_path, rows=100_000, max_length=8).seconds < few.seconds
    weights = 2 * Architecture.of_config(shipped()["facebook/nllb-200-distilled-600M"], "x").size.parameters
    assert weights < translating(tmp_path, batch=1).held < few.held < translating(tmp_path, beams=4).held < 80e9


def test_a_translation_model_that_is_not_known_is_said(tmp_path: Path) -> None:
    assert "translation made: the architecture of org/other is not known" in str(
        translating(tmp_path, hub="org/other").missing
    )
    encoder = translating(tmp_path, hub="FacebookAI/xlm-roberta-base")
    assert "a model without a decoder generates nothing" in str(encoder.missing)


def test_relative_positions_are_projected_in_every_pass() -> None:
    deberta = Architecture.of_config(shipped()["microsoft/mdeberta-v3-base"], "x")
    model = loads.Model(deberta, "pair", 3, "bf16")
    one, two = (model.forward(512.0, 512.0 * 128, 4.0, number).operations for number in (1, 2))
    assert two - one == deberta.per_pass > 0


def test_a_step_of_another_make_is_said_and_keeps_nothing_from_running(tmp_path: Path) -> None:
    estimator = Estimator(plan(tmp_path), devices.named("CPU"))
    trained = next(step for step in estimator.plan.steps() if step.phase == "finetune")
    strange = estimator.costed(trained, {"task": "new"}, {}, None)
    assert strange.missing and "settings that the budget does not know (KeyError: 'hyper')" in strange.missing
    # No phase of the graph, which is the point.
    unheard = replace(trained, phase="distil")  # type: ignore[arg-type]
    assert "phase distil is not estimated" in str(estimator.cost(unheard).missing)


# --- what is left


def test_only_what_would_run_counts_and_nothing_is_written(tmp_path: Path) -> None:
    made = plan(tmp_path)
    everything = whole(tmp_path)
    assert {step.name for step in everything.running} == {step.name for step in made.steps()}
    finish(step for step in made.steps() if step.phase in ("world", "prepare", "backbone", "intermediate"))
    before = sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    rest = whole(tmp_path)
    assert {step.phase for step in rest.running} == {"finetune", "predict", "score", "tabulate", "figures", "overlap"}
    assert 0 < rest.hours < everything.hours
    assert sorted((str(p), p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_after_an_edit_only_what_it_invalidates_counts(tmp_path: Path) -> None:
    finish(plan(tmp_path).steps())
    assert not lines(whole(tmp_path))
    edited = whole(tmp_path, {"recipes": {"small": {"finetune": {"pawsx": {"learning_rate": 5.0e-4}}}}})
    assert {row.task for row in edited.rows if row.phase == "finetune"} == {"pawsx"}
    assert sum(row.jobs for row in edited.rows) == 2 + 2 + 2 + 2  # trainings, predictions, scores; tables, figures


def test_a_change_is_told_as_a_difference(tmp_path: Path) -> None:
    before, after = whole(tmp_path, gpus=2), whole(tmp_path, {"seeds": {"intermediate": [1, 2, 3]}}, gpus=2)
    told = difference(before, after)
    assert told.startswith("+")
    assert "core h" in told and "on 2 cores" in told
    assert difference(before, before).startswith("+0 jobs, +0.00 core h")


# --- cost


def test_twice_the_steps_take_twice_the_time_of_training(tmp_path: Path) -> None:
    once, twice = whole(tmp_path), whole(tmp_path, {"recipes": {"small": {"defaults": {"steps": 24}}}})
    thrice = whole(tmp_path, {"recipes": {"small": {"defaults": {"steps": 36}}}})
    first, second, third = (b.costs[step_of(b, "intermediate/mini/mnli/seed-1")].seconds for b in (once, twice, thrice))
    assert second - first == pytest.approx(third - second)
    assert second > first


def test_patience_opens_a_range_between_expected_and_most(tmp_path: Path) -> None:
    made = full_study(tmp_path)
    rows = {(row.phase, row.task): row for row in budget(made, to_run(made)).rows}
    assert rows["intermediate", "anli_plus"].hours < rows["intermediate", "anli_plus"].most  # 92,000 steps, 31 looks
    assert rows["finetune", "mnli"].hours == rows["finetune", "mnli"].most  # 24,500 steps are over before 31 looks


def test_a_checkpoint_takes_the_disk_of_its_parameters(tmp_path: Path) -> None:
    made = full_study(tmp_path)
    row = next(row for row in budget(made, to_run(made)).rows if (row.phase, row.task) == ("finetune", "pawsx"))
    weights = Architecture.of_config(shipped()["xlm-roberta-large"], "x").size.parameters * 4
    assert row.written / row.jobs == pytest.approx(weights + 17e6, rel=0.01)


@pytest.mark.parametrize(("policy", "pruned"), [("all", ()), ("intermediates", ("finetune",)), ("none", TRAININGS)])
def test_a_pruning_policy_keeps_less(tmp_path: Path, policy: str, pruned: tuple[str, ...]) -> None:
    made = full_study(tmp_path, keep_weights=policy)
    for row in budget(made, to_run(made)).rows:
        assert (row.kept < row.written / 50) == (row.phase in pruned)


def test_rows_add_up_and_a_price_is_a_price(tmp_path: Path) -> None:
    made = full_study(tmp_path, budget={"price": 2.0})
    estimated = budget(made, to_run(made))
    assert estimated.hours == pytest.approx(sum(row["hours"] for row in plain(estimated)["rows"]))
    assert f"cost at 2 a GPU hour: {2 * estimated.hours:.0f}" in "\n".join(lines(estimated))
    assert json.dumps(plain(estimated))


# --- calibration


def test_records_correct_phases_and_tasks_and_few_records_correct_less() -> None:
    seen = [Seen("finetune", "mnli", 20.0, 10.0)] * 9 + [Seen("finetune", "pawsx", 40.0, 10.0)]
    learnt = Calibration(seen)
    assert learnt.factor("finetune", "mnli") == pytest.approx(2.0, rel=0.03)
    assert 2.2 < learnt.factor("finetune", "pawsx") < 4.0  # between its phase's and its own
    assert 2.0 < learnt.factor("predict", "mnli") < 2.3  # the device's
    assert learnt.factor("score", "xnli") == 1.0  # of which they tell nothing
    assert learnt.spread("finetune") < learnt.spread("predict") == 0.5


def test_finished_jobs_correct_what_is_left(tmp_path: Path) -> None:
    before = whole(tmp_path)
    trained = [step for step in before.running if step.phase == "finetune"][:4]
    for step in trained:
        seconds, compute = 3 * before.costs[step].seconds, dict(step.payload["compute"])
        finish([step], wall_seconds=seconds, compute=compute)
    after = whole(tmp_path)
    assert len(after.learnt.seen) == 4
    left = next(s for s in after.running if s.phase == "finetune")
    assert after.costs[left].seconds == pytest.approx(3 * before.costs[step_of(before, left.name)].seconds, rel=0.2)
    assert any("calibrated by 4 finished jobs" in line for line in lines(after))


def test_measured_memory_corrects_the_phases_others(tmp_path: Path) -> None:
    made = full_study(tmp_path)
    trained = next(step for step in made.steps() if step.phase == "finetune")
    held = budget(made, to_run(made)).costs[trained].held
    peak = {"host": 1.0, "device": 1.5 * held / 2**20}
    device = {"device": "NVIDIA A100-SXM4-80GB", "compute": dict(trained.payload["compute"])}
    finish([trained], wall_seconds=900.0, peak_memory_mib=peak, **device)
    again = full_study(tmp_path)
    after = budget(again, to_run(again))
    assert after.costs[step_of(after, trained.name)].held == pytest.approx(1.5 * held)


def test_records_of_another_device_do_not_count(tmp_path: Path) -> None:
    made = plan(tmp_path)
    trained = next(step for step in made.steps() if step.phase == "finetune")
    finish([trained], wall_seconds=1.0, device="NVIDIA H100 80GB HBM3", compute=dict(trained.payload["compute"]))
    after = whole(tmp_path)
    assert (len(after.learnt.seen), after.learnt.other) == (0, 1)


def test_torchs_names_of_devices_are_known() -> None:
    names = {
        "NVIDIA A100-SXM4-80GB": "A100-80",
        "NVIDIA A100-SXM4-40GB": "A100-40",
        "NVIDIA H200": "H200",
        "cpu (x86_64)": "CPU",
    }
    assert {name: found.name for name in names if (found := devices.recorded(name))} == names
    assert devices.recorded("AMD Instinct MI300X") is None


def test_a_wider_study_is_scheduled_on_more_devices_faster(tmp_path: Path) -> None:
    made = whole(tmp_path)
    walls = [made.wall[count] for count in budgets.COUNTS]
    assert walls == sorted(walls, reverse=True)
    assert sum(job.seconds for job in made.path) / 3600 <= walls[-1] + 1e-9
    assert SMALL["study"] == made.plan.study.study


def test_two_short_runs_on_purpose_tell_the_time_of_a_step(tmp_path: Path) -> None:
    before = whole(tmp_path)
    trained = step_of(before, "finetune/mini/none/pawsx/seed-1")
    for steps, seconds in ((10, 31.0), (40, 34.0)):  # a start of 30 s, a tenth of a second a step
        output = calibrate.place(before.plan, trained) / f"steps-{steps}"
        job = calibrate.short_job(trained, steps, output)
        assert job["digest"] != trained.digest
        record = {**job["plan"], "digest": job["digest"], "device": "cpu (test)", "compute": job["compute"]}
        output.mkdir(parents=True)
        (output / "record.json").write_text(json.dumps({**record, "wall_seconds": seconds}), encoding="utf-8")
    (seen,) = whole(tmp_path).learnt.seen
    assert (seen.phase, seen.task, seen.measured) == ("finetune", "pawsx", pytest.approx(3.0))
    assert seen.estimated < before.costs[trained].seconds  # no start, and 30 steps


def test_short_runs_want_data_and_a_backbone(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert not list(calibrate.candidates(made))
    for step in made.steps():
        if step.phase in ("prepare", "backbone"):
            finish([step])
    for step in made.steps():
        for path in map(Path, step.payload.get("train", ())):
            path.touch()
    assert {step.slice["kind"] for step in calibrate.candidates(made)} == {"pair", "tagging", "span"}


# --- the command


def command_line(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str) -> None:
    (root / "study.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["budget", "--configfile", "study.yaml", *arguments])
    main()


def test_the_command_tells_a_change_and_writes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line(monkeypatch, tmp_path, "--config", "seeds={intermediate: [1, 2]}", "--gpus", "3", "--output", "out")
    told = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"xstilts: seeds=.*: \+\d+ jobs, \+[\d.]+ core h ± \d+%, \+[\d.]+ h on 3 cores", told[-1])
    kept = json.loads((tmp_path / "out" / "budget.json").read_text(encoding="utf-8"))
    rows = (tmp_path / "out" / "budget.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + len(kept["rows"])
    assert "</svg>" in (tmp_path / "out" / "budget.svg").read_text(encoding="utf-8")


def test_a_change_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not KEY=VALUE"):
        command_line(monkeypatch, tmp_path, "--config", "seeds")


def test_no_device_runs_two_jobs_at_once(tmp_path: Path) -> None:
    made = whole(tmp_path, gpus=3)
    by_lane: dict[int, list[tuple[float, float]]] = {}
    for _, lane, start, end in lanes(made):
        by_lane.setdefault(lane, []).append((start, end))
    assert set(by_lane) == {1, 2, 3}
    for busy in by_lane.values():
        ordered = sorted(busy)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ordered))
