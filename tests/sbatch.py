"""Prints, as JSON, the options of sbatch for one job of every rule of a study.

The line is made by the executor plugin's own function from the jobs of the real graph; nothing is submitted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string


def options(job: Any) -> str:
    """What the job asks for, without what is the same for every workflow."""
    given = [f"-A {job.resources.get('slurm_account')}", f"-p {job.resources.get('slurm_partition')}"]
    values = {"run_uuid": "x", "slurm_logfile": "x", "comment_str": "x", "account": given[0], "partition": given[1]}
    line = get_submit_command(job, {**values, "workdir": None}, settings=ExecutorSettings(requeue=True))
    return str(line).split("--comment x")[1].strip() + set_gres_string(job)


def main(config: str, attempt: str) -> None:
    """Print the lines of the study of this config file, for this attempt."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        made = api.workflow(
            snakefile=Path("Snakefile"),
            config_settings=ConfigSettings(configfiles=[Path(config)]),
            resource_settings=ResourceSettings(cores=64),
        )
        dag = made.dag(DAGSettings(targets={"all_matrix"}))
        dag.execute_workflow(executor="dryrun")
        lines = {}
        for job in made._workflow.dag.jobs:
            job.attempt = int(attempt)
            lines[job.rule.name] = options(job)
    print(json.dumps(lines))
