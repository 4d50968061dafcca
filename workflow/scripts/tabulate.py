"""Write the study's tables."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.tables:make")
