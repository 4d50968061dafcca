# What is said of the tables: the choice on dev, intervals and tests, the report.
# The best intermediate for each target; it is given dev scores alone.
for scope in SCOPES:

    rule:
        name:
            named("selection", scope)
        input:
            inputs_of("selection", scope),
        output:
            plan_of(scope).select_on_dev().outputs,
        log:
            str(PLAN.root / "logs" / f"{named('selection', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("selection"),
        params:
            job=job_of("selection", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/selection.py {params.job:q} {log:q} {resources.attempt}"


# Intervals, tests, degenerate runs, averages and best models.
for scope in SCOPES:

    rule:
        name:
            named("significance", scope)
        input:
            inputs_of("significance", scope),
        output:
            plan_of(scope).significance().outputs,
        log:
            str(PLAN.root / "logs" / f"{named('significance', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("significance"),
        params:
            job=job_of("significance", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/significance.py {params.job:q} {log:q} {resources.attempt}"


# The study on one page, its main table as Markdown and LaTeX, and the comparison with the published one.
for scope in SCOPES:

    rule:
        name:
            named("report", scope)
        input:
            inputs_of("report", scope),
        output:
            shown(
                plan_of(scope).report().outputs,
                "The study on one page",
                ".html",
            ),
        log:
            str(PLAN.root / "logs" / f"{named('report', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("report"),
        params:
            job=job_of("report", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/report.py {params.job:q} {log:q} {resources.attempt}"
