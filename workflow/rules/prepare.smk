# The mini world, written in the formats in which the real datasets are published.
rule world:
    input:
        inputs_of("world"),
    output:
        pattern("world", *world_files()),
    log:
        log_of("world"),
    benchmark:
        benchmark_of("world")
    conda:
        "../../envs/xstilts.yaml"
    threads: threads_of_world
    resources:
        **asks("world"),
    params:
        job=job_of("world"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/world.py {params.job:q} {log:q} {resources.attempt}"


# Every missing file is named at once, before anything else runs.
rule preflight:
    input:
        inputs_of("preflight"),
    output:
        pattern("preflight", "record.json"),
    log:
        log_of("preflight"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("preflight"),
    params:
        job=job_of("preflight"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/preflight.py {params.job:q} {log:q} {resources.attempt}"


# Each dataset is read, verified and converted once for the whole study; each has tables of its own, one for each part.
for dataset, tables in PLAN.prepared().items():

    rule:
        name:
            f"prepare_{dataset}"
        input:
            inputs_of("prepare", dataset=dataset),
        output:
            pattern("prepare", *tables, dataset=dataset),
        log:
            log_of("prepare", dataset=dataset),
        benchmark:
            benchmark_of("prepare", dataset=dataset)
        priority: priority_of("prepare", dataset=dataset)
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("prepare"),
        params:
            job=job_of("prepare", dataset=dataset),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/prepare.py {params.job:q} {log:q} {resources.attempt}"
