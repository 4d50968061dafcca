"""Questions over passages: one input per window of the passage, the question before it.

Encoded: `start`, `stop` (range of the input's positions that hold passage tokens), `char_starts`, `char_ends` (code
points in the raw passage, per passage token of the window, white space stripped; equal for a token that is nothing
else) and `labels` (positions of the answer's first and last token, both 0 if it is not whole within the window).
Result of a batch: a `Window` per input.

Labels say whether some question has no answer: `NO_ANSWER` is the only label of a SQuAD v2 head, others have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xstilts.errors import ConfigError
from xstilts.tasks.features.common import Batch, Encoded, Ids, Template, backend, inputs, tokenize

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerFast

    from xstilts.schema.training import Hyperparameters
    from xstilts.tasks.rows import SpanRow

NO_ANSWER = "no_answer"


@dataclass(frozen=True)
class Passage:
    """A tokenised passage: token ids and, per token, the code points it covers without white space around them."""

    ids: Ids[int]
    starts: Ids[int]
    ends: Ids[int]

    @classmethod
    def of(cls, text: str, encoding: Encoding) -> Passage:
        """SentencePiece tokens cover the space before them; an answer must not."""
        starts, ends = Ids("i"), Ids("i")
        for start, end in encoding.offsets:
            covered = text[start:end]
            starts.append(start + len(covered) - len(covered.lstrip()))
            ends.append(max(starts[-1], start + len(covered.rstrip())))
        return cls(Ids("i", encoding.ids), starts, ends)

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token that share a character with `start:end`; None if no token does."""
        inside = [i for i, (a, b) in enumerate(zip(self.starts, self.ends, strict=True)) if a < end and b > start]
        return (inside[0], inside[-1]) if inside else None


def labels(rows: Sequence[SpanRow]) -> list[str]:
    """`[NO_ANSWER]` if some question has no answer, else none."""
    return [] if all(row["answers"] for row in rows) else [NO_ANSWER]


def encode(
    rows: Sequence[SpanRow], tokenizer: PreTrainedTokenizerFast, hyper: Hyperparameters, _labels: Sequence[str]
) -> list[Encoded]:
    """Windows of at most `max_length` tokens, neighbours sharing `doc_stride`; the first answer is the target."""
    template = Template.of(tokenizer, 2)
    questions = tokenize(tokenizer, (row["question"] for row in rows))
    passages = _passages(tokenizer, rows)
    encoded: list[Encoded] = []
    for example, row in enumerate(rows):
        question, passage = questions[row["question"]][: hyper.max_query_length], passages[row["context"]]
        room = template.room(hyper.max_length) - len(question)
        answer = _answer(row, passage)
        for first, last in windows(len(passage.ids), room, hyper.doc_stride):
            one = _window(template, question, passage, (first, last), answer)
            encoded.append({**one, "example": example})
    return encoded


def _passages(tokenizer: PreTrainedTokenizerFast, rows: Sequence[SpanRow]) -> dict[str, Passage]:
    rust, size = backend(tokenizer), 512
    texts = list(dict.fromkeys(row["context"] for row in rows))
    passages: dict[str, Passage] = {}
    for some in (texts[i : i + size] for i in range(0, len(texts), size)):
        encodings = rust.encode_batch(some, add_special_tokens=False)
        passages.update((text, Passage.of(text, e)) for text, e in zip(some, encodings, strict=True))
    return passages


def _answer(row: SpanRow, passage: Passage) -> tuple[int, int] | None:
    if not row["answers"]:
        return None
    start = row["starts"][0]
    return passage.span(start, start + len(row["answers"][0]))


def windows(length: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `room` tokens that cover `length` tokens, each beginning `stride` tokens after the one before.

    So is doc_stride meant in BERT's, XTREME's and jiant's SQuAD code; run_qa.py's is the overlap.

    Raises:
        ConfigError: tokens between two windows would be in neither.
    """
    if room < max(length, 1) and stride > room:
        problem = f"windows with room for {room} passage tokens, {stride} apart, leave tokens out"
        raise ConfigError("doc_stride", problem, "make it smaller, or max_length larger")
    start = 0
    while start + room < length:
        yield start, start + room
        start += stride
    yield start, length


def _window(
    template: Template, question: Ids[int], passage: Passage, bounds: tuple[int, int], answer: tuple[int, int] | None
) -> Encoded:
    first, last = bounds
    encoded = template.wrap(question, passage.ids[first:last])
    start = len(template.specials[0]) + len(question) + len(template.specials[1])
    whole = answer is not None and first <= answer[0] and answer[1] < last
    return {
        **encoded,
        "start": start,
        "stop": start + last - first,
        "char_starts": passage.starts[first:last],
        "char_ends": passage.ends[first:last],
        "labels": tuple(start + position - first for position in answer) if answer and whole else (0, 0),
    }


def collate(batch: Sequence[Encoded], pad_id: int) -> Batch:
    """Padded inputs (batch, length) and `labels` (batch, 2): first and last position of the answer."""
    labels = np.array([encoded["labels"] for encoded in batch], dtype=np.int64)
    return {**inputs(batch, pad_id), "labels": torch.from_numpy(labels)}


@dataclass(frozen=True)
class Window:
    """What one window says: its best spans (positions within the passage part, best first) and its normaliser.

    A span's score is its start logit plus its end logit; `null` is that of the empty one, `limit` the spans to keep
    per question.
    """

    scores: Any
    firsts: Any
    lasts: Any
    log_normaliser: float
    null: float
    limit: int


def decode(logits: torch.Tensor, batch: Sequence[Encoded], hyper: Hyperparameters) -> list[Any]:
    """The `n_best` spans of each window and the exact logsumexp over all of its valid ones.

    Args:
        logits: (windows, 2, positions), start and end.

    A valid span starts and ends on passage tokens that are not mere white space and has at most `max_answer_length`
    tokens.
    """
    valid = _valid(batch, logits.shape[-1]).to(logits.device)
    masked = logits.float().masked_fill(~valid[:, None], -torch.inf)
    scores = _span_scores(masked[:, 0], masked[:, 1], hyper.max_answer_length)
    width, flat = scores.shape[-1], scores.flatten(1)
    best, where = (x.cpu().numpy() for x in flat.topk(min(hyper.n_best, flat.shape[1])))
    normalisers, null = flat.logsumexp(1).tolist(), logits[..., 0].float().sum(-1).tolist()
    results: list[Any] = []
    for i, encoded in enumerate(batch):
        scores_i, where_i = best[i][np.isfinite(best[i])], where[i][np.isfinite(best[i])]
        firsts = where_i // width - encoded["start"]
        lasts = firsts + where_i % width
        results.append(Window(scores_i, firsts, lasts, normalisers[i], null[i], hyper.n_best))
    return results


def _valid(batch: Sequence[Encoded], length: int) -> torch.Tensor:
    valid = np.zeros((len(batch), length), dtype=bool)
    for row, encoded in zip(valid, batch, strict=True):
        row[encoded["start"] : encoded["stop"]] = np.less(encoded["char_starts"], encoded["char_ends"])
    return torch.from_numpy(valid)


def _span_scores(start: torch.Tensor, end: torch.Tensor, longest: int) -> torch.Tensor:
    """(windows, positions, longest): the score of the span that starts at a position and is 1, 2, … tokens long."""
    ends = torch.nn.functional.pad(end, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1)
    return start[..., None] + ends


def rejoin(
    results: Sequence[Window], encoded: Sequence[Encoded], rows: Sequence[SpanRow], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """One prediction per row, the best over all of its windows, with the text cut from the raw passage.

    `log_normaliser` is the logsumexp over all valid spans of all windows, `log_probability` a span's score less that.
    With `NO_ANSWER` the empty span takes part once, with its lowest score of any window (each window must deny
    the answer: as in the SQuAD v2 evaluation of BERT); it is "" at 0:0.

    Returns:
        `id`, `gold`, `prediction`, `start`, `end`, `log_probability`, `log_normaliser`, `n_best`
        (text, start, end, log_probability), the last without doubles from overlapping windows.
    """
    predictions = []
    pairs = zip(results, encoded, strict=True)
    for example, group in groupby(pairs, key=lambda pair: int(pair[1]["example"])):
        predictions.append(_joined(list(group), rows[example], NO_ANSWER in labels))
    return predictions


def _joined(group: list[tuple[Window, Encoded]], row: SpanRow, may_be_empty: bool) -> dict[str, Any]:
    candidates = _candidates(group)
    parts = [window.log_normaliser for window, _ in group]
    if may_be_empty or not candidates:
        candidates[(0, 0)] = min(window.null for window, _ in group)
        parts.append(candidates[(0, 0)])
    normaliser = float(np.logaddexp.reduce(parts))
    ranked = sorted(candidates.items(), key=lambda item: (-item[1], item[0]))[: group[0][0].limit]
    n_best = [
        {"text": row["context"][a:b], "start": a, "end": b, "log_probability": score - normaliser}
        for (a, b), score in ranked
    ]
    kept = {key: n_best[0][key] for key in ("start", "end", "log_probability")}
    rest = {"prediction": n_best[0]["text"], **kept, "log_normaliser": normaliser, "n_best": n_best}
    return {"id": row["id"], "gold": list(row["answers"]), **rest}


def _candidates(group: list[tuple[Window, Encoded]]) -> dict[tuple[int, int], float]:
    """The windows' best spans by code points, each with its highest score."""
    candidates: dict[tuple[int, int], float] = {}
    for window, encoded in group:
        for score, first, last in zip(window.scores, window.firsts, window.lasts, strict=True):
            span = (int(encoded["char_starts"][first]), int(encoded["char_ends"][last]))
            candidates[span] = max(float(score), candidates.get(span, -np.inf))
    return candidates
