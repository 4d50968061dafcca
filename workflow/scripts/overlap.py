"""Compare the texts of every training set with those of every test set."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.overlap:overlap")
