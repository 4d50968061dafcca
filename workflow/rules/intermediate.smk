# Phase 2: the backbone is trained on an intermediate task, in English.
rule intermediate:
    input:
        inputs_of("intermediate"),
    output:
        pattern("intermediate", *PLAN.files("intermediate")),
    log:
        log_of("intermediate"),
    benchmark:
        benchmark_of("intermediate")
    priority: priority_of("intermediate")
    conda:
        "../../envs/xstilts.yaml"
    threads: COMPUTE.ranks * COMPUTE.threads
    resources:
        **asks("intermediate"),
    params:
        job=job_of("intermediate"),
        launcher=launcher("intermediate"),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.launcher} workflow/scripts/intermediate.py {params.job:q} {log:q} {resources.attempt}"
