"""Prediction: tables against the model run by hand, one input at a time; the store; retrieval's corner cases."""

from __future__ import annotations

import json
import math
import shutil
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_packing import ENCODERS
from transformers import AutoModel, XLMRobertaConfig, XLMRobertaModel

from xstilts.errors import ConfigError, UserError
from xstilts.evaluation import embed
from xstilts.evaluation.inference import by_tokens
from xstilts.evaluation.predict import predict
from xstilts.models import checkpoint
from xstilts.models.encoder import drop_layers_above
from xstilts.models.heads import HeadSpec
from xstilts.models.task_model import TaskModel
from xstilts.tasks.features import tokens
from xstilts.training.tokenizer import PAD, train_tokenizer

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven"]
TEXTS = [" ".join(WORDS[i : i + 1 + i % 5]) for i in range(10)]
TOKENIZER = train_tokenizer(TEXTS * 20, 150, 40)
LENGTHS = {"max_length": 24, "doc_stride": 4, "max_query_length": 8, "max_answer_length": 5, "n_best": 3}
NLI = ("no", "maybe", "yes")


def encoder() -> XLMRobertaModel:
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=42, type_vocab_size=1, pad_token_id=PAD, initializer_range=0.5,
    )  # fmt: skip
    return XLMRobertaModel(config, add_pooling_layer=False).eval()


def trained(directory: Path, kind: Any, labels: tuple[str, ...]) -> TaskModel:
    model = TaskModel(encoder(), [HeadSpec("task", kind, labels, "mean")]).eval()
    directory.mkdir()
    checkpoint.save(model, model.state_dict(), TOKENIZER, directory)
    return model


def bare_job(directory: Path) -> dict[str, Any]:
    """A job over the checkpoint `model`, without parts."""
    return {
        "name": "predict/test", "digest": "0", "plan": {"step": "predict"}, "checkpoint": str(directory / "model"),
        "precision": "fp32", "hyper": LENGTHS, "retrieval": None, "batch_tokens": 64,
        "compute": {"device": "cpu", "threads": 1}, "parts": [],
        "store": str(directory / "store"), "tokens": str(directory / "tokens"), "output": str(directory / "out"),
    }  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    return bare_job(tmp_path)


def add_part(job: dict[str, Any], rows: list[dict[str, Any]], **part: Any) -> Path:
    """Write the rows and add their part; returns where the predictions will be."""
    part = {"language": "de", "labels": [], **part}
    name = f"{part['language']}.parquet"
    folder = Path(job["output"]).parent / "data"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    place = f"{part['task']}/{part['language']}"
    job["parts"].append({"name": place, "variant": None, "digest": name, "data": {"test": str(folder / name)}, **part})
    return Path(job["output"]) / part["task"] / name


def logits_alone(model: TaskModel, text: str, pair: str | None = None) -> torch.Tensor:
    with torch.no_grad():
        inputs = TOKENIZER(text, pair, return_tensors="pt")
    logits: torch.Tensor = model(**inputs, lengths=(inputs["input_ids"].shape[1],))["logits"][0]
    return logits


PAIRS = [{"id": f"p{i}", "text_a": text, "text_b": TEXTS[-1 - i], "label": NLI[i % 3]} for i, text in enumerate(TEXTS)]


def test_pair_predictions_are_those_of_the_model_run_alone(tmp_path: Path, job: dict[str, Any]) -> None:
    model = trained(tmp_path / "model", "pair", NLI)
    place = add_part(job, PAIRS, task="xnli", kind="pair", labels=sorted(NLI))
    predict(job)
    table = pq.read_table(place)
    assert json.loads(table.schema.metadata[b"labels"]) == list(NLI)  # the head's order, not the task's
    assert table.schema.field("logits").type == pa.list_(pa.float32())
    for row, source in zip(table.to_pylist(), PAIRS, strict=True):
        alone = logits_alone(model, source["text_a"], source["text_b"])
        assert row["logits"] == pytest.approx(alone.tolist(), abs=1e-5)
        assert (row["id"], row["gold"]) == (source["id"], source["label"])
        assert row["prediction"] == NLI[int(alone.argmax())]
    record = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert (record["parts"], record["predicted"], record["rows"]) == (1, 1, len(PAIRS))


def test_tagging_gives_every_word_its_log_probabilities(tmp_path: Path, job: dict[str, Any]) -> None:
    tags = ("A", "B")
    model = trained(tmp_path / "model", "tagging", tags)
    rows = [
        {"id": "short", "tokens": WORDS[:4], "tags": ["A", "B", "A", "A"]},
        {"id": "long", "tokens": WORDS * 5, "tags": ["B"] * 50},  # more than max_length tokens: several chunks
    ]
    place = add_part(job, rows, task="udpos", kind="tagging", labels=tags)
    predict(job)
    short, long = pq.read_table(place).to_pylist()
    starts = [1 + i for i, token in enumerate(TOKENIZER.tokenize(" ".join(WORDS[:4]))) if token.startswith("▁")]
    alone = logits_alone(model, " ".join(WORDS[:4])).log_softmax(-1)[starts]
    assert torch.allclose(torch.tensor(short["log_probabilities"]), alone, atol=1e-5)
    assert short["prediction"] == [tags[i] for i in alone.argmax(-1).tolist()]
    assert (short["gold"], long["gold"]) == (rows[0]["tags"], rows[1]["tags"])
    assert len(long["log_probabilities"]) == len(long["prediction"]) == 50
    assert torch.tensor(long["log_probabilities"]).exp().sum(-1).tolist() == pytest.approx([1.0] * 50, abs=1e-5)


def test_spans_are_cut_from_the_raw_passage(tmp_path: Path, job: dict[str, Any]) -> None:
    trained(tmp_path / "model", "span", ())
    context = "  " + "  ".join(WORDS * 4)
    rows = [
        {
            "id": str(i),
            "title": "",
            "context": context[i:],
            "question": "one two",
            "answers": ["red"],
            "starts": [2 - i],
        }
        for i in range(3)
    ]
    place = add_part(job, rows, task="xquad", kind="span")
    predict(job)
    for row, source in zip(pq.read_table(place).to_pylist(), rows, strict=True):
        assert row["prediction"] == source["context"][row["start"] : row["end"]] == row["n_best"][0]["text"]
        assert row["prediction"] == row["prediction"].strip() != ""
        assert len(row["n_best"]) == 3
        best = [span["log_probability"] for span in row["n_best"]]
        assert best == sorted(best, reverse=True) and sum(map(math.exp, best)) <= 1 + 1e-5
        assert row["gold"] == ["red"] and math.isfinite(row["log_normaliser"])


def test_stored_parts_are_not_predicted_again(tmp_path: Path, job: dict[str, Any]) -> None:
    trained(tmp_path / "model", "pair", NLI)
    first = add_part(job, PAIRS, task="xnli", kind="pair", labels=NLI)
    predict(job)
    before = first.read_bytes()
    job["output"] = str(tmp_path / "again")
    second = add_part(job, PAIRS[:3], task="xnli", kind="pair", labels=NLI, language="fr")
    predict(job)
    record = json.loads((tmp_path / "again" / "record.json").read_text(encoding="utf-8"))
    assert (record["parts"], record["predicted"], record["rows"]) == (2, 1, 3)
    assert (tmp_path / "again" / "xnli" / first.name).read_bytes() == before
    assert pq.read_table(second).num_rows == 3
    shutil.rmtree(tmp_path / "model")
    shutil.rmtree(tmp_path / "again")
    predict(job)  # all of it is there: no checkpoint is needed
    assert pq.read_table(second).num_rows == 3


def test_finished_parts_survive_a_failure(tmp_path: Path, job: dict[str, Any]) -> None:
    trained(tmp_path / "model", "pair", NLI)
    done = add_part(job, PAIRS, task="xnli", kind="pair", labels=NLI)
    add_part(job, PAIRS, task="pawsx", kind="pair", labels=["0", "1"], language="fr")
    with pytest.raises(UserError, match="no, maybe, yes, those of pawsx 0, 1; give a checkpoint trained for this task"):
        predict(job)
    assert done.is_file()
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_head_of_another_kind_is_refused(tmp_path: Path, job: dict[str, Any]) -> None:
    trained(tmp_path / "model", "span", ())
    add_part(job, PAIRS, task="xnli", kind="pair", labels=NLI)
    with pytest.raises(UserError, match="its head is of kind 'span', xnli needs 'pair'"):
        predict(job)


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, job: dict[str, Any]) -> None:
    model = trained(tmp_path / "model", "pair", NLI)
    with torch.no_grad():
        model.heads["task"].out.bias[0] = math.nan
    checkpoint.save(model, model.state_dict(), TOKENIZER, tmp_path / "model")
    add_part(job, PAIRS, task="xnli", kind="pair", labels=NLI)
    with pytest.raises(UserError, match="not numbers"):
        predict(job)


def test_batches_keep_to_their_budget_and_lose_nothing() -> None:
    lengths = [3, 9, 4, 4, 30, 1, 7]
    batches = list(by_tokens(lengths, 12))
    assert [[lengths[i] for i in batch] for batch in batches] == [[30], [9], [7], [4, 4, 3], [1]]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert list(by_tokens([], 12)) == []


# --- retrieval


def sentence(side: str, name: str, text: str, *gold: str) -> dict[str, Any]:
    return {"side": side, "id": name, "text": text, "gold": list(gold)}


def test_vectors_are_means_over_all_tokens_of_a_layer(tmp_path: Path) -> None:
    model, path = encoder(), tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([sentence("english", str(i), text) for i, text in enumerate(TEXTS)]), path)
    lengths: Any = SimpleNamespace(max_length=24)
    inputs = tokens.of(tokens.Recipe("retrieval", (path,), TOKENIZER, lengths, ()), tmp_path, 1)
    places = list(range(len(TEXTS)))[::-2]
    vectors = embed.Embedder(model, PAD, 40, "fp32").vectors(inputs, places, [0, 2])
    assert vectors.shape == (2, len(places), 16)
    for i, text in enumerate(TEXTS[place] for place in places):
        with torch.no_grad():
            states = model(**TOKENIZER(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        assert torch.allclose(vectors[0, i], states[0][0].mean(0), atol=1e-5)
        assert torch.allclose(vectors[1, i], states[2][0].mean(0), atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("architecture", [*ENCODERS, "deberta-v2 with a convolution"])
def test_layers_above_the_one_wanted_do_not_compute_and_change_nothing(architecture: str, layer: int) -> None:
    torch.manual_seed(0)
    config = deepcopy(ENCODERS[architecture.split()[0]][1])
    config.conv_kernel_size = 3 if "convolution" in architecture else 0
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    ids = torch.randint(5, 400, (2, 9))
    ran: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    with torch.no_grad():
        whole, before = model(ids, output_hidden_states=True).hidden_states, ran.copy()
        ran.clear()
        drop_layers_above(model, layer)
        cut = model(ids, output_hidden_states=True).hidden_states
    assert cut[layer].equal(whole[layer])
    stacked = architecture not in ("modernbert", "xlm-roberta-xl")
    assert (len(ran) < len(before)) is (stacked and layer < 2)


def test_all_layers_come_in_passes_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = embed.Embedder(encoder(), PAD, 40, "fp32")
    assert embedder.layers("all") == [0, 1, 2]
    with pytest.raises(ConfigError, match="retrieval_layer: 3, but the encoder has layers 0 to 2"):
        embedder.layers([3])
    monkeypatch.setattr(embed, "_LAYER_BYTES", 2 * 4 * 16 * 10)
    assert list(embedder.passes([0, 1, 2], 10)) == [[0, 1], [2]]
    assert list(embedder.passes([0, 1, 2], 1000)) == [[0], [1], [2]]


class Fixed(embed.Embedder):
    """Gives the vectors written in the texts, as `x,y`; a trailing letter tells equal ones apart."""

    def vectors(self, inputs: Any, places: Any, layers: Any) -> torch.Tensor:
        texts = [inputs[i]["text"] for i in places]
        return torch.tensor([[[float(x) for x in text.split()[0].split(",")] for text in texts]] * len(layers))


def retrieved(task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The raw rows of layer 1."""
    embedder, inputs = Fixed(encoder(), PAD, 40, "fp32"), cast(Any, rows)
    made = embed.table(task, rows, inputs, embedder, {"layers": [1], "neighbours": 2})
    table: list[dict[str, Any]] = made.to_pylist()
    assert {(row["layer"], row["centred"]) for row in table} == {(1, False), (1, True)}
    return [row for row in table if not row["centred"]]


def test_tatoeba_goes_from_sorted_english_to_foreign() -> None:
    rows = [
        sentence("foreign", "f0", "1,0", "e0"),
        sentence("foreign", "f1", "0,1", "e1"),
        sentence("english", "e0", "3,4"),  # nearer to f1 (cosine .8) than to f0 (.6)
        sentence("english", "e1", "0,2"),
    ]
    found = retrieved("tatoeba", rows)
    assert [(row["id"], row["gold"], row["prediction"]) for row in found] == [("e1", "f1", "f1"), ("e0", "f0", "f1")]
    assert [row["similarity"] for row in found] == pytest.approx([1.0, 0.8])
    assert [row["margin"] for row in found] == pytest.approx([1.0, 0.2])


def test_tatoeba_refuses_english_without_translation() -> None:
    rows = [sentence("foreign", "f0", "1,0", "e0"), sentence("english", "e0", "1,0"), sentence("english", "e1", "0,1")]
    with pytest.raises(UserError, match="every English sentence must translate exactly one"):
        retrieved("tatoeba", rows)


def test_mining_lists_candidates_and_missed_gold_pairs() -> None:
    """The cosines of `test_search.test_margins_by_hand`; x1 has no gold pair, x0's second one is missed."""
    rows = [
        sentence("foreign", "x0", "1,0", "y0", "y1"),
        sentence("foreign", "x1", "0,1"),
        sentence("english", "y0", "1,0"),
        sentence("english", "y1", "0.6,0.8"),
    ]
    found = {(row["foreign"], row["english"]): (row["score"], row["gold"]) for row in retrieved("bucc2018", rows)}
    assert found.keys() == {("x0", "y0"), ("x1", "y1"), ("x0", "y1")}
    assert found["x0", "y0"] == (pytest.approx(1 / 0.65), True)
    assert found["x1", "y1"] == (pytest.approx(0.8 / 0.55), False)
    assert math.isnan(found["x0", "y1"][0]) and found["x0", "y1"][1]


def test_mining_drops_sentences_that_stand_for_several_ids() -> None:
    """x0 twice: it takes part once, so margins are as before, but its pair is nobody's; its gold pairs are missed."""
    rows = [
        sentence("foreign", "x0", "1,0", "y0"),
        sentence("foreign", "x0-again", "1,0"),
        sentence("foreign", "x1", "0,1", "y1"),
        sentence("english", "y0", "1,0"),
        sentence("english", "y1", "0.6,0.8"),
    ]
    found = {(row["foreign"], row["english"]): row["score"] for row in retrieved("bucc2018", rows)}
    assert found.keys() == {("x1", "y1"), ("x0", "y0")}
    assert found["x1", "y1"] == pytest.approx(0.8 / 0.55)
    assert math.isnan(found["x0", "y0"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_retrieval_end_to_end(tmp_path: Path, job: dict[str, Any], precision: str) -> None:
    (tmp_path / "model").mkdir()
    checkpoint.save_encoder(encoder(), TOKENIZER, tmp_path / "model")
    rows = [sentence("foreign", f"f{i}", text, f"e{i}") for i, text in enumerate(TEXTS)]
    rows += [sentence("english", f"e{i}", text) for i, text in enumerate(TEXTS)]
    job |= {"precision": precision, "hyper": None, "retrieval": {"layers": "all", "max_length": 24, "neighbours": 4}}
    place = add_part(job, rows, task="tatoeba", kind="retrieval")
    predict(job)
    table = pq.read_table(place).to_pylist()
    assert len(table) == 3 * 2 * len(TEXTS)
    assert all(row["prediction"] == row["gold"] for row in table)  # both sides hold the same sentences
    assert [row["similarity"] for row in table] == pytest.approx([1.0] * len(table), abs=1e-5)  # the search is fp32
    job["retrieval"]["max_length"] = 41
    Path(job["store"], job["parts"][0]["digest"] + ".parquet").unlink()
    with pytest.raises(ConfigError, match="41 tokens, but the backbone has 40 positions"):
        predict(job)
