"""Write the XTREME submission files of one checkpoint."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.evaluation.export:export")
