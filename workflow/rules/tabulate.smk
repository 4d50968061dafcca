# All scores of the study in tables: cells, matrix, deltas, per language.
for scope in SCOPES:

    rule:
        name:
            named("tabulate", scope)
        input:
            inputs_of("tabulate", scope),
        output:
            plan_of(scope).tabulate().outputs,
        log:
            str(PLAN.root / "logs" / f"{named('tabulate', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("tabulate"),
        params:
            job=job_of("tabulate", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/tabulate.py {params.job:q} {log:q} {resources.attempt}"


# The tables as figures.
for scope in SCOPES:

    rule:
        name:
            named("figures", scope)
        input:
            inputs_of("figures", scope),
        output:
            shown(plan_of(scope).figures().outputs, "Figures", ".svg"),
        log:
            str(PLAN.root / "logs" / f"{named('figures', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("figures"),
        params:
            job=job_of("figures", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/figures.py {params.job:q} {log:q} {resources.attempt}"
