"""What a reader knows of the part that it reads, and how it turns checked values into rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xstilts.errors import DataError
from xstilts.schema.data import Split
from xstilts.tasks.rows import ChoiceRow, PairRow, RetrievalRow, SpanRow, TaggingRow, TextRow

Row = PairRow | ChoiceRow | SpanRow | TaggingRow | RetrievalRow | TextRow

SHIFT = 32
"""How far, in code points, an answer may stand from its `answer_start` and still be repaired.

Hub copies strip the white space around passages and keep the offsets, so that answers move left by as much.
"""


@dataclass(frozen=True)
class Place:
    """Where a record stands: a file (or hub dataset), a 1-based line (or row), a path inside a JSON document."""

    file: Path | str
    line: int | None = None
    inside: str = ""

    def error(self, problem: str, remedy: str) -> DataError:
        """The error to raise about the record."""
        return DataError(self.file, f"{self.inside}: {problem}" if self.inside else problem, remedy, self.line)

    def at(self, inside: str) -> Place:
        """A place further inside the same record."""
        return Place(self.file, self.line, f"{self.inside}.{inside}" if self.inside else inside)


@dataclass
class Part:
    """One split of one dataset in one language, while it is read.

    Attributes:
        split, language: which part.
        labels: the task's labels; empty if any label will do.
        renamed: label in the files: label of the task.
        dropped: labels (as in the files) whose rows are left out.
        unit: field that every row must have, since dev is cut by it; "" if none.
        counts: what was dropped or repaired, and how often.
        commit: of the hub's dataset; None where it comes from files.
    """

    split: Split
    language: str
    labels: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: Sequence[str] = ()
    unit: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    commit: str | None = None
    _ids: set[str] = field(default_factory=set)
    _rows: int = 0

    def position(self) -> str:
        """Id of the next row where upstream gives none: its 0-based position in the part, dropped rows included."""
        self._rows += 1
        return str(self._rows - 1)

    def unique(self, name: str, place: Place) -> str:
        """The id, if it is not empty and no other row has it."""
        if not name:
            raise place.error("the id is empty", "give every row an id of its own")
        if name in self._ids:
            raise place.error(f"id {name!r} is given twice in one part", "give every row an id of its own")
        self._ids.add(name)
        return name

    def whole(self, place: Place, **texts: str) -> None:
        """Refuse a row that lacks the unit by which dev is cut."""
        if not texts.get(self.unit, "whole"):
            remedy = "give it, or cut dev by another `unit:` in the dataset's `dev:`"
            raise place.error(f"{self.unit} is empty, and dev is cut by it", remedy)

    def drops(self, raw: str) -> bool:
        """Does upstream convention leave out rows with this label? If so, it is counted."""
        if raw not in self.dropped:
            return False
        self.counts[f"dropped: label {raw}"] += 1
        return True

    def label(self, raw: str, place: Place) -> str:
        """The task's name of a label."""
        label = self.renamed.get(raw, raw)
        if self.labels and label not in self.labels:
            known = ", ".join(self.labels)
            raise place.error(
                f"unknown label {raw!r}", f"known are {known}; map it to one of them in the dataset's `labels:`"
            )
        return label


def value(record: Mapping[str, Any], key: str, kind: type, place: Place) -> Any:
    """The value of a key that must be there with that type.

    Raises:
        DataError: no such key, or another type.
    """
    if key not in record:
        raise place.error(f"no field {key!r} (there are {', '.join(map(str, record))})", "give the field")
    found = record[key]
    if isinstance(found, str) and not _encodable(found):
        raise place.error(f"{key!r} holds half a character (a lone surrogate)", "correct the text")
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise place.error(f"{key!r} is {found!r:.80}, expected {_NAMES[kind]}", "correct the field")
    return found


def _encodable(text: str) -> bool:
    """JSON can spell texts that are no Unicode, such as "\\ud800"; no file can hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_NAMES = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


def pair(part: Part, place: Place, texts: tuple[str, str], label: str, name: str | None) -> PairRow | None:
    """A row of two texts, or None if its label is one that convention drops.

    Texts may be empty (GLUE's QQP has empty questions); white space around them goes, as in XTREME's preprocessing.
    """
    position = part.position()
    if part.drops(label):
        return None
    row_id = position if name is None else part.unique(name, place)
    text_a, text_b = (text.strip() for text in texts)
    part.whole(place, text_a=text_a)
    return PairRow(id=row_id, text_a=text_a, text_b=text_b, label=part.label(label, place))


def choice(
    part: Part,
    place: Place,
    texts: tuple[str, str],
    choices: Sequence[str],
    label: str | int,
    name: str | None = None,
) -> ChoiceRow:
    """A row of context, question ("" if none) and choices; `label` is the right one's 0-based index."""
    position = part.position()
    raw = part.renamed.get(str(label), str(label))
    if len(choices) < 2:
        raise place.error(f"{len(choices)} choices, expected two or more", "give the choices")
    if not raw.isdecimal() or int(raw) >= len(choices):
        expected = f"0 to {len(choices) - 1}"
        raise place.error(f"label {label!r} is no index of its choices ({expected})", "correct the label")
    row_id = position if name is None else part.unique(name, place)
    context, question = texts
    part.whole(place, context=context)
    return ChoiceRow(id=row_id, context=context, question=question, choices=list(choices), label=int(raw))


def tagging(part: Part, place: Place, tokens: Sequence[str], tags: Sequence[str]) -> TaggingRow:
    """A row of tokens, none empty, and as many tags."""
    if len(tokens) != len(tags):
        raise place.error(f"{len(tokens)} tokens and {len(tags)} tags", "give every token one tag")
    if not tokens:
        raise place.error("a sentence without tokens", "remove the sentence or give its tokens")
    if not all(tokens):
        number = tokens.index("") + 1
        raise place.error(f"token {number} is empty", "give the token a form or remove the sentence")
    labels = [part.label(tag, place.at(f"token {number}")) for number, tag in enumerate(tags, start=1)]
    return TaggingRow(id=part.position(), tokens=list(tokens), tags=labels)


def span(
    part: Part,
    place: Place,
    texts: tuple[str, str, str],
    answers: Sequence[tuple[str, int]],
    name: str,
) -> SpanRow:
    """A row of (title, context, question) and its answers (text, start in code points), none if unanswerable."""
    title, context, question = texts
    part.whole(place, title=title, context=context)
    found = [_located(part, place, context, text, start) for text, start in answers]
    return SpanRow(
        id=part.unique(name, place),
        title=title,
        context=context,
        question=question,
        answers=[text for text, _ in found],
        starts=[start for _, start in found],
    )


def _located(part: Part, place: Place, context: str, text: str, start: int) -> tuple[str, int]:
    """The answer and where it stands, repaired if it stands nearby."""
    if not text.strip():
        remedy = "give the answer; XTREME's own download blanks test answers, so take upstream's files"
        raise place.error("an answer without text", remedy)
    if start >= 0 and context.startswith(text, start):
        return text, start
    for wanted in (text, text.strip()):
        near = _nearest(context, wanted, start)
        if near is not None:
            part.counts["repaired: answer_start"] += 1
            return wanted, near
    there = context[max(start, 0) : max(start, 0) + len(text)]
    problem = f"answer {text!r:.60} is not at answer_start {start} (there is {there!r:.60}) nor within {SHIFT} of it"
    raise place.error(problem, "correct answer_start, which counts code points from 0")


def _nearest(context: str, text: str, start: int) -> int | None:
    """Nearest place of the text within SHIFT of `start`, the left one of two; None if there is none."""
    moves = sorted(range(-SHIFT, SHIFT + 1), key=lambda move: (abs(move), move))
    return next((start + m for m in moves if start + m >= 0 and context.startswith(text, start + m)), None)


def aligned(pairs: Iterable[tuple[Place, str, str]]) -> Iterator[RetrievalRow]:
    """Rows of a parallel corpus: every foreign sentence, then every English one; ids are 0-based positions.

    Raises:
        DataError: a sentence is empty.
    """
    english = []
    for number, (place, foreign, translation) in enumerate(pairs):
        if not foreign.strip() or not translation.strip():
            raise place.error("an empty sentence", "give both sides of the pair, or remove it from both")
        english.append(translation.strip())
        yield RetrievalRow(side="foreign", id=str(number), text=foreign.strip(), gold=[str(number)])
    for number, text in enumerate(english):
        yield RetrievalRow(side="english", id=str(number), text=text, gold=[])


def texts(part: Part, found: Iterable[str]) -> Iterator[TextRow]:
    """A row for every text that holds a word; the others are counted."""
    for text in found:
        if text.strip():
            yield TextRow(id=part.position(), text=text.strip())
        else:
            part.counts["dropped: blank line"] += 1
