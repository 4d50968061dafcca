# Phase 3: the encoder is fine-tuned on a target's English training data, with a fresh head.
rule finetune:
    input:
        inputs_of("finetune"),
    output:
        pattern("finetune", *PLAN.files("finetune")),
    log:
        log_of("finetune"),
    benchmark:
        benchmark_of("finetune")
    priority: priority_of("finetune")
    conda:
        "../../envs/xstilts.yaml"
    threads: COMPUTE.ranks * COMPUTE.threads
    resources:
        **asks("finetune"),
    params:
        job=job_of("finetune"),
        launcher=launcher("finetune"),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.launcher} workflow/scripts/finetune.py {params.job:q} {log:q} {resources.attempt}"
