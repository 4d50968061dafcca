"""Draw the study's figures."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.figures:make")
