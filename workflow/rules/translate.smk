# Training data that a sequence-to-sequence model translates.
rule translate:
    input:
        inputs_of("translate"),
    output:
        pattern("translate", "record.json", "train.{language}.parquet"),
    log:
        log_of("translate"),
    benchmark:
        benchmark_of("translate")
    priority: priority_of("translate")
    conda:
        "../../envs/xstilts.yaml"
    threads: COMPUTE.threads
    resources:
        **asks("translate"),
    params:
        job=job_of("translate"),
        launcher=launcher("translate"),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.launcher} workflow/scripts/translate.py {params.job:q} {log:q} {resources.attempt}"


# Translated files that a user gives, held against their original row by row before anything trains on them.
rule match:
    input:
        inputs_of("match"),
    output:
        pattern("match", "record.json"),
    log:
        log_of("match"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("match"),
    params:
        job=job_of("match"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/match.py {params.job:q} {log:q} {resources.attempt}"
