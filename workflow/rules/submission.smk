# The test predictions of one checkpoint for every XTREME target in XTREME's layout, with the gold labels beside them.
rule submission:
    input:
        inputs_of("submission"),
    output:
        pattern("submission", "record.json"),
    log:
        log_of("submission"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        mem_mb=resource_of("score", "mem_mb"),
        runtime=resource_of("score", "runtime"),
    params:
        job=job_of("submission"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/submission.py {params.job:q} {log:q}"
