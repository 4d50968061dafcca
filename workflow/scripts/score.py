"""Score one cell with the official metrics."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.evaluation.score:score")
