"""Retrieval straight from an encoder: sentence vectors of its layers, then search (Tatoeba) or mining (BUCC).

A sentence's vector is the mean of a layer's token vectors over all tokens, special ones included, as in upstream's
third_party/evaluate_retrieval.py (google-research/xtreme). `hidden_states[0]` are the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from xstilts.errors import ConfigError, UserError
from xstilts.evaluation import search
from xstilts.evaluation.inference import autocast, by_tokens
from xstilts.metrics import retrieval as metric
from xstilts.models.pooling import mean
from xstilts.tasks.features.common import moved
from xstilts.tasks.features.retrieval import collate
from xstilts.tasks.features.tokens import Tokens
from xstilts.tasks.rows import RetrievalRow

_LAYER_BYTES = 8 * 2**30  # vectors held at a time; more layers than fit take more passes of the encoder

_SEARCH = pa.schema(
    {
        "layer": pa.int32(),
        "centred": pa.bool_(),
        "id": pa.string(),
        "gold": pa.string(),
        "prediction": pa.string(),
        "similarity": pa.float32(),
        "margin": pa.float32(),
    }
)
_MINING = pa.schema(
    {
        "layer": pa.int32(),
        "centred": pa.bool_(),
        "foreign": pa.string(),
        "english": pa.string(),
        "score": pa.float32(),
        "gold": pa.bool_(),
    }
)

Vectors = tuple[torch.Tensor, torch.Tensor]  # foreign, English
Columns = dict[str, Any]  # equally long sequences


@dataclass(frozen=True)
class Embedder:
    """A loaded encoder and how it is run.

    Attributes:
        model: a Hugging Face encoder in evaluation mode, on its device.
        pad_id: its tokenizer's padding token.
        batch_tokens: tokens per batch, padding included.
        precision: of the encoder; vectors, means and search are float32.
    """

    model: Any
    pad_id: int
    batch_tokens: int
    precision: str

    def layers(self, wanted: Sequence[int] | str) -> list[int]:
        """The layers named, or all of them for "all".

        Raises:
            ConfigError: the encoder has no such layer.
        """
        last = int(self.model.config.num_hidden_layers)
        layers = list(range(last + 1)) if isinstance(wanted, str) else list(wanted)
        if max(layers) > last:
            problem = f"{max(layers)}, but the encoder has layers 0 to {last}"
            raise ConfigError("backbones.*.retrieval_layer", problem, "name one of these")
        return layers

    def passes(self, layers: Sequence[int], sentences: int) -> Iterator[Sequence[int]]:
        """The layers in groups whose vectors fit into memory together."""
        size = max(1, _LAYER_BYTES // (4 * int(self.model.config.hidden_size) * max(1, sentences)))
        return (layers[start : start + size] for start in range(0, len(layers), size))

    @torch.inference_mode()
    def vectors(self, inputs: Tokens, places: Sequence[int], layers: Sequence[int]) -> torch.Tensor:
        """Float32 vectors of the sentences at these places: (layers, sentences, width), on the CPU.

        Raises:
            UserError: a vector is not finite.
        """
        found = torch.empty(len(layers), len(places), int(self.model.config.hidden_size))
        for batch in by_tokens(inputs.lengths[places].tolist(), self.batch_tokens):
            some = moved(collate([inputs[places[i]] for i in batch], self.pad_id), self.model.device)
            with autocast(self.precision, self.model.device):
                hidden = self.model(**some, output_hidden_states=True).hidden_states
            means = [mean(hidden[layer].float(), some["attention_mask"]) for layer in layers]
            found[:, batch] = torch.stack(means).cpu()
        if not bool(found.isfinite().all()):
            raise UserError("retrieval: the encoder gives vectors that are not finite; use precision fp32 or bf16")
        return found


def table(
    task: str, rows: Sequence[RetrievalRow], inputs: Tokens, embedder: Embedder, retrieval: dict[str, Any]
) -> pa.Table:
    """The prediction table of one language: every layer asked for, with vectors as they are and mean-centred.

    Args:
        task: tatoeba or bucc2018.
        rows: both sides.
        inputs: one per row.
        retrieval: `layers` (list, or "all") and `neighbours` (of the ratio margin).

    Raises:
        UserError: a side is empty, or gold ids do not fit the sentences.
    """
    schema, predict = _TASKS[task]
    pair = _Pair.of(rows, distinct=schema is _MINING)
    parts = []
    for layers in embedder.passes(embedder.layers(retrieval["layers"]), len(pair.foreign) + len(pair.english)):
        sides = [embedder.vectors(inputs, places, layers) for places in pair.places]
        for place, layer in enumerate(layers):
            for centred in (False, True):
                foreign, english = (search.prepared(side[place], centred) for side in sides)
                columns = predict(pair, (foreign, english), retrieval["neighbours"], embedder.model.device)
                count = len(next(iter(columns.values())))
                variant = {"layer": [layer] * count, "centred": [centred] * count}
                parts.append(pa.table({**variant, **columns}, schema=schema))
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class _Pair:
    """Both sides of one language.

    Attributes:
        foreign, english: the rows to embed.
        places: of these among all rows.
        ids: per side, sentence to id, for sentences that stand for one id only (mining).
        gold: (foreign id, English id) of all translations.
    """

    foreign: list[RetrievalRow]
    english: list[RetrievalRow]
    places: tuple[list[int], list[int]]
    ids: tuple[dict[str, str], dict[str, str]]
    gold: list[tuple[str, str]]

    @classmethod
    def of(cls, rows: Sequence[RetrievalRow], distinct: bool) -> _Pair:
        """Part the rows; `distinct` keeps the first of equal sentences (upstream's `text_load_unify`)."""
        first, second = ([i for i, row in enumerate(rows) if row["side"] == side] for side in ("foreign", "english"))
        if not first or not second:
            raise UserError("retrieval: a side has no sentences; give foreign and English ones")
        ids = (_unambiguous([rows[i] for i in first]), _unambiguous([rows[i] for i in second]))
        gold = [(rows[i]["id"], name) for i in first for name in rows[i]["gold"]]
        if distinct:
            first, second = _distinct(rows, first), _distinct(rows, second)
        return cls([rows[i] for i in first], [rows[i] for i in second], (first, second), ids, gold)


def _unambiguous(rows: list[RetrievalRow]) -> dict[str, str]:
    return metric.ids_of_unique([row["id"] for row in rows], [row["text"] for row in rows])


def _distinct(rows: Sequence[RetrievalRow], places: list[int]) -> list[int]:
    return list({rows[i]["text"]: i for i in reversed(places)}.values())[::-1]


def _searched(pair: _Pair, vectors: Vectors, _neighbours: int, device: torch.device) -> Columns:
    """Tatoeba: each English sentence's nearest foreign one; `margin` is its cosine less the second nearest's.

    English sentences stand in code-point order (XTREME), so that a constant shift of lines earns nothing.
    """
    foreign, english = vectors
    order = metric.tatoeba_labels([row["text"] for row in pair.english])
    translation = {name: foreign_id for foreign_id, name in pair.gold}
    ids = [pair.english[i]["id"] for i in order]
    if len(translation) != len(pair.gold) or not translation.keys() >= set(ids):
        raise UserError("retrieval: every English sentence must translate exactly one foreign one; correct the ids")
    nearest, _ = search.both_ways(english[order], foreign, 2, device)
    first = nearest.similarity[:, 0]
    return {
        "id": ids,
        "gold": [translation[name] for name in ids],
        "prediction": [pair.foreign[i]["id"] for i in nearest.index[:, 0].tolist()],
        "similarity": first.numpy(),
        "margin": (first - nearest.similarity[:, -1]).numpy(),
    }


def _mined(pair: _Pair, vectors: Vectors, neighbours: int, device: torch.device) -> Columns:
    """BUCC: one-to-one candidates by ratio margin, then the gold pairs that are not among them, their score NaN.

    Candidates with a sentence that stands for several ids are dropped (upstream's `read_sent2id`).
    """
    forward, backward = search.best_by_margin(*vectors, neighbours, device)
    found = {}
    for i, j, score in metric.one_to_one(forward.index, forward.margin, backward.index, backward.margin):
        names = (pair.ids[0].get(pair.foreign[i]["text"].strip()), pair.ids[1].get(pair.english[j]["text"].strip()))
        if None not in names:
            found[names] = score
    gold = set(pair.gold)
    rows = [(*names, score, names in gold) for names, score in found.items()]
    rows += [(*names, float("nan"), True) for names in dict.fromkeys(pair.gold) if names not in found]
    return dict(zip(("foreign", "english", "score", "gold"), map(list, zip(*rows, strict=True)), strict=True))


_TASKS: dict[str, tuple[pa.Schema, Callable[[_Pair, Vectors, int, torch.device], Columns]]] = {
    "tatoeba": (_SEARCH, _searched),
    "bucc2018": (_MINING, _mined),
}
