"""Predict every language of every target that one checkpoint serves."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.evaluation.predict:predict")
