# What a run says to its user: the ends of failed jobs' logs, the matrix, and why and at what cost a dry run's jobs would run.
import gc
import logging
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from xstilts.explain import report as explained

# SLURM's log of a job ends with some forty lines of two inner Snakemakes.
TAIL = 60


class Tails(logging.Handler):
    """Shows the last lines of a failed job's logs where the user looks, which may be another machine than the job's."""

    def emit(self, record):
        """Called for every event of Snakemake."""
        if getattr(record, "event", None) != LogEvent.JOB_ERROR:
            return
        for path in map(Path, record.log):
            lines = (
                path.read_text(errors="replace").splitlines() if path.exists() else []
            )
            if lines:
                tail = "\n    ".join(lines[-TAIL:])
                print(f"xstilts: {path} ends with\n    {tail}", file=sys.stderr)


if workflow.is_main_process:
    logger.addHandler(Tails())


def print_matrix():
    """Show the matrix of the widest scope on the terminal, if this run made it."""
    if PLAN.study.report.print_matrix:
        from xstilts.analysis.terminal import show

        # `done` remembers what was there before the run.
        plans = [
            plan
            for plan in map(plan_of, SCOPES)
            if all(Path(path).exists() for path in plan.tabulate().outputs)
        ]
        for plan in plans[-1:]:
            show(plan.tables, sys.stdout)


def print_verdicts():
    """Show the comparisons with published numbers that this configuration has made."""
    for what in ("published", "baseline"):
        if all(Path(path).exists() for path in PLAN.verify(what).outputs):
            from xstilts.analysis.verify import show

            show(PLAN.root / "verify" / what, sys.stdout)


def explain_dry_run():
    """Say at the end of a dry run why its jobs would run, and what they would cost.

    Snakemake has no hook there (`onsuccess` is for real runs), and what is a dry run it knows only after the Snakefile is
    read; so an input function asks for this, and it speaks when the process ends, if a graph was built.
    """
    # Python would look through the whole graph for garbage before it lets go of it: a seventh of a dry run.
    gc.freeze()
    if workflow.scheduler is None or Quietness.ALL in (
        workflow.output_settings.quiet or ()
    ):
        return
    made = {
        str(path): job.priority
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        for path in job.output
    }
    for text in (
        explained([plan_of(scope) for scope in reversed(SCOPES)], made),
        costs(WIDEST, made),
    ):
        if text:
            print(text, file=sys.stderr)


def costs(plan, made):
    """What the jobs behind these output paths (path: priority) would cost; imported only here, since it loads numpy."""
    from xstilts.budget.report import report as costed

    priorities = {
        step: made[step.outputs[0]] for step in plan.steps() if step.outputs[0] in made
    }
    return costed(plan, priorities, devices_at_once())


def devices_at_once():
    """GPUs or cores that this run was given; None if it was not told."""
    name = "gpu" if COMPUTE.device == "cuda" else "_cores"
    if name == "_cores" and not workflow.local_exec:
        return None
    given = workflow.global_resources.get(name)
    return given.value if given is not None else None
