"""Part-of-speech tagging with Universal Dependencies v2.5; XTREME scores spans of bare tags (spec: issue #56)."""

from xstilts.tasks.base import Task

TASK = Task(
    name="udpos",
    kind="tagging",
    labels=(
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
    ),
    metrics=("f1", "precision", "recall", "accuracy"),
    criterion="tagging.span_f1",
    train_set="udpos",
)
