"""Cross-lingual intermediate-task-training studies (X-STILTs) as one Snakemake workflow."""

__version__ = "0.1.0"
