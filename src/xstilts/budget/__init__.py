"""What a study costs before it runs: operations, memory, disk, time on N devices. Numpy at most; no torch, no Snakemake."""
