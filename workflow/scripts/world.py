"""Write the mini world's files."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.mini.make:make")
