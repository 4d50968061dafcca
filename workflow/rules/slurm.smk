# Mends of SLURM's executor plugin, where it was seen to wait for ever or to have every job refused.
import sys


def see_cancelled_jobs():
    """Have SLURM's plugin see that a job was cancelled.

    sacct says `CANCELLED by 1000`, which the plugin (2.7.1, 2.8.0) takes for a state that it does not know, that is for a
    job that still runs, and waits for without end.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is None:
        return
    ask = plugin.query_job_status

    async def asked(command, logger):
        states, seconds = await ask(command, logger)
        return (
            states
            and {job: state.split()[0] for job, state in states.items() if state},
            seconds,
        )

    plugin.query_job_status = asked


def exclude_named_nodes_only():
    """Have SLURM's plugin exclude only nodes that have a name.

    Of a job that lost its node and waits to run again sacct says `None assigned`, which the plugin (2.8.0) takes for the
    node that failed: from then on sbatch refuses every job.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is None:
        return
    command = plugin.get_submit_command

    def named(*args, failed_nodes=(), **settings):
        nodes = {node for node in failed_nodes or () if " " not in node}
        return command(*args, failed_nodes=nodes, **settings)

    plugin.get_submit_command = named


if workflow.is_main_process:
    see_cancelled_jobs()
    exclude_named_nodes_only()
