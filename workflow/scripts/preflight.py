"""Name every missing file before anything runs."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.tasks.preflight:preflight")
