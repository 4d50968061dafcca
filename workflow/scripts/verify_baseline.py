"""Hold the rows `none` against published scores."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.verify:make_baseline")
