"""What a study costs before it runs: operations, memory, disk, time on N devices; no torch, no Snakemake."""
