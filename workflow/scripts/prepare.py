"""Read, verify and convert one dataset."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.tasks.prepare:prepare")
