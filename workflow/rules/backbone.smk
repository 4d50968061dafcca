# Phase 1: a pretrained encoder is fetched, or a tiny one trained from raw text.
rule backbone:
    input:
        inputs_of("backbone"),
    output:
        pattern("backbone", *PLAN.files("backbone")),
    log:
        log_of("backbone"),
    benchmark:
        benchmark_of("backbone")
    priority: priority_of("backbone")
    conda:
        "../../envs/xstilts.yaml"
    threads: threads_of_backbone
    resources:
        **asks("backbone"),
    params:
        job=job_of("backbone"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/backbone.py {params.job:q} {log:q} {resources.attempt}"
