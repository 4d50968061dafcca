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


# Another system's test predictions of one target, by the same metrics.
rule external:
    input:
        inputs_of("external"),
    output:
        pattern("external", "scores.json", "examples.parquet", "record.json"),
    log:
        log_of("external"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("external"),
    params:
        job=job_of("external"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/external.py {params.job:q} {log:q} {resources.attempt}"
