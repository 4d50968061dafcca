"""Hold translated training files against their original."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.translation.match:match")
