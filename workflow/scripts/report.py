"""Write the report."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.report:make")
