"""Phase 1: fetch a pretrained encoder, or train a tiny one."""

from xstilts.job import Job, main


def _provider(job: Job) -> str:
    return "xstilts.training.pretrain:pretrain" if "training" in job else "xstilts.models.fetch:fetch"


if __name__ == "__main__":
    main(_provider)
