"""Score another system's predictions."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.evaluation.external:score")
