"""Translate the training part of a dataset by a sequence-to-sequence model."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.translation.translate:translate")
