"""TyDiQA-GoldP: 9 languages, trained on its 3,696 English questions."""

from xstilts.tasks.base import Task

TASK = Task(
    name="tydiqa",
    kind="span",
    metrics=("f1", "exact_match"),
    criterion="squad.mean_f1_em",
    train_set="tydiqa",
)
