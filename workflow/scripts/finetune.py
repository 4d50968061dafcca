"""Phase 3: fine-tune on a target's English training data."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.training.run:train", "candidates=xstilts.training.choose:choose")
