# How much of each test set's text each training set holds.
for scope in SCOPES:

    rule:
        name:
            named("overlap", scope)
        input:
            inputs_of("overlap", scope),
        output:
            plan_of(scope).overlap().outputs,
        log:
            str(PLAN.root / "logs" / f"{named('overlap', scope)}.log"),
        conda:
            "../../envs/xstilts.yaml"
        threads: 1
        resources:
            **asks("overlap"),
        params:
            job=job_of("overlap", scope),
            python=python(),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/overlap.py {params.job:q} {log:q} {resources.attempt}"
