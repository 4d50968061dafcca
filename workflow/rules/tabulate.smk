# All scores of the study in tables: cells, matrix, deltas, per language.
rule tabulate:
    input:
        inputs_of("tabulate"),
    output:
        PLAN.tabulate().outputs,
    log:
        str(PLAN.root / "logs" / "tabulate.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("tabulate"),
    params:
        job=job_of("tabulate"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/tabulate.py {params.job:q} {log:q} {resources.attempt}"


# The tables as figures.
rule figures:
    input:
        inputs_of("figures"),
    output:
        shown(PLAN.figures().outputs, "Figures", ".svg"),
    log:
        str(PLAN.root / "logs" / "figures.log"),
    conda:
        "../../envs/xstilts.yaml"
    threads: 1
    resources:
        **asks("figures"),
    params:
        job=job_of("figures"),
        python=python(),
    shell:
        "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.python} workflow/scripts/figures.py {params.job:q} {log:q} {resources.attempt}"
