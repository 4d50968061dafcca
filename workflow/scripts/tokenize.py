"""Make the inputs of trainings and predictions on CPUs."""

from xstilts.job import main

if __name__ == "__main__":
    main("xstilts.training.tokenize:tokenize")
