# The official metrics of one cell, per language and averaged.
rule score:
    input:
        inputs_of("score"),
    output:
        pattern("score", "scores.json", "examples.parquet", "record.json"),
    log:
        log_of("score"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("score"),
    params:
        job=job_of("score"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/score.py {params.job:q} {log:q} {resources.attempt}"
