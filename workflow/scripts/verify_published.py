"""Hold retrieval without training against the authors' numbers."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.verify:make_published")
