# Model inputs, made on CPUs before jobs that hold GPUs ask for them; a study on CPUs has no such job.
rule tokenize:
    input:
        inputs_of("tokenize"),
    output:
        pattern("tokenize", "record.json"),
    log:
        log_of("tokenize"),
    benchmark:
        benchmark_of("tokenize")
    priority: priority_of("tokenize")
    conda:
        "../../envs/xstilts.yaml"
    threads: COMPUTE.threads
    resources:
        **asks("tokenize"),
    params:
        job=job_of("tokenize"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/tokenize.py {params.job:q} {log:q} {resources.attempt}"
