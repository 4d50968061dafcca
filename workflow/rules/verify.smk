# Rows `none` held against published numbers, when asked for by name: `snakemake verify_published`, `verify_baseline`.
# Retrieval without any training, language by language, against the authors' own replication.
rule verify_published:
    input:
        inputs_of("verify_published"),
    output:
        PLAN.verify("published").outputs,
    log:
        str(PLAN.root / "logs" / "verify_published.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("verify_published"),
    params:
        job=job_of("verify_published"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/verify_published.py {params.job:q} {log:q} {resources.attempt}"


# Every target's score after fine-tuning alone.
rule verify_baseline:
    input:
        inputs_of("verify_baseline"),
    output:
        PLAN.verify("baseline").outputs,
    log:
        str(PLAN.root / "logs" / "verify_baseline.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("verify_baseline"),
    params:
        job=job_of("verify_baseline"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/verify_baseline.py {params.job:q} {log:q} {resources.attempt}"
