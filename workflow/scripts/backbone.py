"""Phase 1: fetch a pretrained encoder, or train a tiny one."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.models.fetch:fetch", "training=xstilts.training.pretrain:pretrain")
