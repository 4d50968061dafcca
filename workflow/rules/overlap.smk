# How much of each test set's text each training set holds.
rule overlap:
    input:
        inputs_of("overlap"),
    output:
        PLAN.overlap().outputs,
    log:
        str(PLAN.root / "logs" / "overlap.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("overlap"),
    params:
        job=job_of("overlap"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/overlap.py {params.job:q} {log:q} {resources.attempt}"
