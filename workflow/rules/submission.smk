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
        **asks("submission"),
    params:
        job=job_of("submission"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/submission.py {params.job:q} {log:q} {resources.attempt}"
