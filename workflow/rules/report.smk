# What is said of the tables: the choice on dev, intervals and tests, the report.
# The best intermediate for each target; it is given dev scores alone.
rule selection:
    input:
        inputs_of("selection"),
    output:
        PLAN.select_on_dev().outputs,
    log:
        str(PLAN.root / "logs" / "selection.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("selection"),
    params:
        job=job_of("selection"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/selection.py {params.job:q} {log:q} {resources.attempt}"


# Intervals, tests, degenerate runs, averages and best models.
rule significance:
    input:
        inputs_of("significance"),
    output:
        shown(PLAN.significance().outputs, "Statistics", ".csv"),
    log:
        str(PLAN.root / "logs" / "significance.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("significance"),
    params:
        job=job_of("significance"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/significance.py {params.job:q} {log:q} {resources.attempt}"


# The study on one page, its main table as Markdown and LaTeX, and the comparison with the published one.
rule report:
    input:
        inputs_of("report"),
    output:
        shown(PLAN.report().outputs, "The study on one page", ".html", ".md"),
    log:
        str(PLAN.root / "logs" / "report.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("report"),
    params:
        job=job_of("report"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/report.py {params.job:q} {log:q} {resources.attempt}"
