"""Write intervals, tests and averages."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.analysis.significance:make")
