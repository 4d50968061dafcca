"""Choose the best intermediates on dev."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.selection:make")
