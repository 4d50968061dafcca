# One job predicts every language of every target that its checkpoint serves, and loads it once. Checkpoints of
# different train sets serve different targets, so each train set's rule has output files of its own.
for train_set in PLAN.train_sets():

    rule:
        name:
            f"predict_{train_set}"
        input:
            inputs_of("predict"),
        output:
            pattern("predict", *PLAN.predicted_files(train_set)),
        log:
            log_of("predict"),
        benchmark:
            benchmark_of("predict")
        wildcard_constraints:
            train_set=train_set,
        priority: priority_of("predict")
        conda:
            "../../envs/xstilts.yaml"
        threads: COMPUTE.threads
        resources:
            **asks("predict"),
        params:
            job=job_of("predict"),
            launcher=launcher("predict"),
        shell:
            "PYTHONSAFEPATH=1 PYTHONPATH=src${{PYTHONPATH:+:$PYTHONPATH}} {params.launcher} workflow/scripts/predict.py {params.job:q} {log:q} {resources.attempt}"
