"""Phase 2: train the backbone on an intermediate task."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.training.run:train")
