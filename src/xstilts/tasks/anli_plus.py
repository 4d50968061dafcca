"""ANLI R1-3, MNLI and SNLI as one inference task (Phang et al. 2020, Table 1; after Nie et al. 2020)."""

from xstilts.tasks.base import NLI_LABELS, Task

TASK = Task(
    name="anli_plus",
    kind="pair",
    labels=NLI_LABELS,
    metrics=("accuracy",),
    criterion="classification.accuracy",
    datasets=("anli_r1", "anli_r2", "anli_r3", "mnli", "snli"),
)
