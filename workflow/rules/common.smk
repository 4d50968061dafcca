# What the rules share: the plan, and the functions by which a rule finds its step in it. No rule stands here.
import atexit
import gc
import inspect
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.common import FUNC_OVERWRITE_PARAMS_ATTR
from snakemake.io import report as in_report
from snakemake.resources import Resource
from snakemake.settings.types import DeploymentMethod, RerunTrigger

from xstilts import revisions, site
from xstilts.config import load
from xstilts.errors import UserError
from xstilts.files import write_text
from xstilts.libraries import changed_libraries
from xstilts.prune import spent
from xstilts.study import RULE_FILES, Plan, notices

# A graph is built from many small objects that all stay: collecting garbage meanwhile costs a sixth of a dry run.
gc.set_threshold(200_000, 50, 50)


def lock_path():
    """The lock of the study's config file: of the last one, where several are laid over each other."""
    return revisions.path_of(
        (workflow.overwrite_configfiles or workflow.configfiles)[-1]
    )


def or_exit(made):
    """What a function makes of the user's files; a mistake in them ends in one line."""
    try:
        return made()
    except UserError as error:
        sys.exit(f"xstilts: {error}")


@cache
def plan_of(scope):
    """The plan of the study's rows in a scope."""

    def made():
        plan = Plan(load(config), revisions=revisions.read(lock_path()), scope=scope)
        plan.steps()
        return plan

    return or_exit(made)


def asked_for(*words):
    """Is one of the words in a target, or a job, of the command line? (`--cores all` asks for nothing.)"""
    pairs = zip(sys.argv, sys.argv[1:])
    given = [word for before, word in pairs if before not in NUMBERED]
    return any(re.search(rf"\b({'|'.join(words)})\b", word) for word in given)


NUMBERED = ("--cores", "-c", "--jobs", "-j", "--quiet", "-q")

# The plan of all rows has several times the steps of the matrix's, so it is made only when something of it is asked for.
PLAN = plan_of("matrix")
WIDER = [
    scope
    for scope, words in {
        "baselines": ("baselines", "[a-z]+_baselines"),
        "all": ("all", "[a-z]+_all", "all_data_all"),
    }.items()
    if asked_for(*words)
]
SCOPES = ("matrix", *WIDER)
WIDEST = plan_of(SCOPES[-1])
SITE = or_exit(site.read)
if workflow.is_main_process:
    notices(WIDEST)
    changed_libraries(PLAN)
COMPUTE = PLAN.study.compute
# Phases whose resources stand under another's name in the config.
ASKS_LIKE = {
    "submission": "score",
    "overlap": "tabulate",
    "verify": "tabulate",
    "report": "tabulate",
}
TRAININGS = ("intermediate", "finetune")
RESUMABLE = ("backbone", "intermediate", "finetune")
PUBLISHED = (
    "tabulate",
    "figures",
    "selection",
    "significance",
    "report",
    "verify_published",
    "verify_baseline",
)
FOLDERS = {
    "world": (),
    "preflight": (),
    "prepare": ("dataset",),
    "translate": ("dataset", "language"),
    "match": ("task", "dataset", "language"),
    "backbone": ("backbone",),
    "tokenize": ("backbone", "phase", "trained"),
    "intermediate": ("backbone", "intermediate", "seeds"),
    "finetune": ("backbone", "intermediate", "train_set", "seeds"),
    "predict": ("backbone", "intermediate", "train_set", "seeds"),
    "score": ("backbone", "intermediate", "target", "seeds"),
    "external": ("external", "target"),
    "submission": ("backbone", "intermediate", "seeds"),
}
# Made once for each scope, and for the study.
SCOPED = ("overlap", "tabulate", "figures", "selection", "significance", "report")
WHOLE = ("verify_published", "verify_baseline")


def step_of(phase, wildcards, scope="matrix", **known):
    """The step that a job stands for; a path with another configuration's digest is refused.

    Here as below, `known` are folders that a rule names itself, in place of wildcards; among a hundred rules whose paths
    begin alike, Snakemake would try every one on every path.
    """
    if phase in (*SCOPED, *WHOLE):
        plan = plan_of(scope)
        return plan.step(phase, plan.part if phase in SCOPED else ())
    folders = tuple(
        known.get(name) or getattr(wildcards, name) for name in FOLDERS[phase]
    )
    # A job on a cluster is started by its name alone: it looks where the rows of its scope may be.
    for plan in map(plan_of, (*SCOPES, "all")):
        step = plan.find(phase, folders)
        if step and getattr(wildcards, "digest", step.digest) == step.digest:
            return step
    place, asked = Path(phase, *folders), getattr(wildcards, "digest", "it")
    raise WorkflowError(f"{place}: {asked} belongs to another configuration")


def place_of(phase, base, **known):
    """The folder of a phase's job below `base`, with wildcards for the cell and the digest."""
    folders = (known.get(name, f"{{{name}}}") for name in FOLDERS[phase])
    return base.joinpath(*folders, "{digest}")


def pattern(phase, *names, **known):
    """Output paths of a phase."""
    base = place_of(phase, PLAN.root / PLAN.folder(phase), **known)
    return [str(base / name) for name in names]


def world_files():
    """The mini world's record, and whatever was deleted of its files."""
    return PLAN.world().files if PLAN.study.data.world else ("record.json",)


def log_of(phase, **known):
    """Log file of a phase's jobs."""
    return str(place_of(phase, PLAN.root / "logs" / phase, **known)) + ".log"


def benchmark_of(phase, **known):
    """Benchmark file of a phase's jobs."""
    return str(place_of(phase, PLAN.root / "benchmarks" / phase, **known)) + ".jsonl"


def settle():
    """Settings that exist only once the graph is built, so the input functions see to them.

    The digest in a path says what is out of date, so Snakemake only has to see what is missing; its other triggers would
    rerun for things that change no result (docs/invalidation.md). Nor does it count that a killed run has marked an output
    as incomplete: the record comes last, so with it a result is whole. Snakemake would make it again, run nothing of
    what waits for it, and call that a success (`inputs_of`). And its job rate limiter starts another endless timer with
    every finished job, which burns a core after a few hundred jobs; SLURM's plugin submits no more than two at a time
    anyway.
    """
    workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
    workflow.dag.ignore_incomplete = True
    if workflow.scheduling_settings is not None:  # `--report` schedules nothing
        workflow.scheduling_settings.max_jobs_per_timespan = None
    if workflow.is_main_process and workflow.dryrun:
        atexit.unregister(explain_dry_run)
        atexit.register(explain_dry_run)


def signed(function):
    """The function with its parameters at hand, which Snakemake finds out anew several times for every job."""
    parameters = inspect.signature(function).parameters
    setattr(function, FUNC_OVERWRITE_PARAMS_ATTR, parameters)
    return function


# Snakemake calls every resource that is a function through it.
signed(Resource.evaluate)


def forced():
    """With forced execution even a finished step must wait for what it reads."""
    return bool(workflow.dag_settings.forceall or workflow.dag_settings.forcerun)


@cache
def again(step):
    """Does `-R` name the step's rule or one of its files, or those of a step that it rests on?"""
    words = frozenset(workflow.dag_settings.forcerun)
    parts = (*step.folders, *SCOPES)
    own = {step.phase, *(f"{step.phase}_{part}" for part in parts), *step.outputs}
    return bool(words) and (not words.isdisjoint(own) or any(map(again, step.needs)))


def named(rule, scope):
    """The name of a scope's rule; the matrix's is the plain one."""
    return rule if scope == "matrix" else f"{rule}_{scope}"


def inputs_of(phase, scope="matrix", **known):
    """Input function: what the job reads, if it has to run at all.

    All inputs are ancient: their content is in the digest, so their age says nothing. A finished step with a digest of its
    own asks for none, so that a checkpoint pruned or rebuilt for one job concerns no other. Only what `-R` makes again is
    not: Snakemake would leave out what reads it, even what is missing (its issue 4166).
    """

    @signed
    def inputs(wildcards):
        settle()
        step = step_of(phase, wildcards, scope, **known)
        if step.done and not forced() and phase not in PUBLISHED and PLAN.settled(step):
            return []
        return [
            ancient(path) if PLAN.settled(need) and not again(need) else path
            for need, path in read_by(step)
        ]

    return inputs


def read_by(step):
    """What a step reads, and from which steps; data that was damaged is refused before anything runs on it."""
    try:
        return PLAN.reads(step)
    except UserError as error:
        raise WorkflowError(f"xstilts: {error}") from None


def shown(paths, category, *suffixes):
    """Outputs, those with one of the suffixes marked for `snakemake --report`."""
    caption = "../report/caption.rst"
    return [
        in_report(path, caption, category) if path.endswith(suffixes) else path
        for path in paths
    ]


def spent_by(step):
    """The weights that a prediction job deletes if it is the last to need them; a forced run needs what stands there."""
    if step.phase != "predict" or forced():
        return {}
    return {"spent": spent(WIDEST, PLAN.study.keep_weights, step)}


def job_of(phase, scope="matrix", **known):
    """Params function: the file that holds the job, written unless this is a dry run.

    A job goes through a file since an argument of the shell has a limit, which a table of a few thousand cells exceeds.
    """

    folder = PLAN.root / "jobs" / phase

    @signed
    def job(wildcards):
        step = step_of(phase, wildcards, scope, **known)
        name = f"{folder}/{step.digest}.json"
        if not workflow.dryrun:
            path, text = Path(name), step.job(**spent_by(step))
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
        return name

    return job


def python():
    """This environment's Python, or that of the rule's own conda environment."""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        return "python"
    return shlex.quote(sys.executable)


def gpus_of(phase):
    """GPUs of a job: one per rank of a training, one for a prediction or translation; none on a study that runs on CPUs."""
    gpus = {
        "intermediate": COMPUTE.ranks,
        "finetune": COMPUTE.ranks,
        "predict": 1,
        "translate": 1,
    }
    return gpus.get(phase, 0) if COMPUTE.device == "cuda" else 0


@signed
def threads_of_backbone(wildcards):
    """Threads of a backbone's job, which may have a number of its own."""
    compute = step_of("backbone", wildcards).payload.get("compute", {})
    return compute.get("threads", COMPUTE.threads)


@signed
def threads_of_world(wildcards):
    """The processes that write the mini world."""
    return step_of("world", wildcards).payload["processes"]


def asks(phase):
    """Resources of a phase's jobs: GPUs on one node, memory, time, the site's account and the like, the attempt.

    An attempt that follows another asks for half as much memory more, and for more time where it begins again. Never
    `tasks`: the plugin would start the job once per task, each with one of its GPUs.
    """
    group = ASKS_LIKE.get(RULE_FILES[phase], RULE_FILES[phase])
    resources = COMPUTE.resources[group]
    given = workflow.resource_settings.default_resources or {}
    return {
        **{
            name: value
            for name, value in SITE.resources(gpus_of(phase)).items()
            if name in ("gpu", "nodes") or name not in given
        },
        "mem_mb": signed(
            lambda wildcards, attempt: resources.mem_mb * (1 + attempt) // 2
        ),
        "runtime": (
            resources.runtime
            if phase in RESUMABLE
            else signed(lambda wildcards, attempt: resources.runtime * attempt)
        ),
        "attempt": signed(lambda wildcards, attempt: attempt),
    }


@cache
def to_the_end():
    """Step: seconds to the end of the study, by the budget's estimate; nothing in a single job's process."""
    if not workflow.is_main_process:
        return {}
    from xstilts.budget import missing, plan, schedule  # loads numpy

    try:
        jobs = plan.budget(WIDEST, plan.to_run(WIDEST)).jobs()
    except missing.Missing:  # a dry run tells what
        return {}
    return schedule.to_the_end(jobs)


def priority_of(phase, **known):
    """Priority function: the critical path first, so that what most waits for is submitted, or run, before the rest."""
    return signed(
        lambda wildcards: int(
            to_the_end().get(step_of(phase, wildcards, **known).name, 0)
        )
    )


def launcher(phase):
    """How a job starts: with GPUs of its own, and a training as one process or one per rank on this node."""
    gpus, ranks = gpus_of(phase), COMPUTE.ranks if phase in TRAININGS else 1
    lease = [f"{python()} -m xstilts.lease {gpus}"] if gpus else []
    training = f"{python()} -m xstilts.training.launch {ranks}"
    return " ".join([*lease, training if ranks > 1 else python()])


def everything(scope):
    """Input function: every file of a scope's rows; predictions too, so that a deleted one is made again."""

    def paths(wildcards):
        plan = plan_of(scope)
        tables = [
            step
            for step in (plan.tabulate(), plan.figures(), plan.overlap())
            if plan.wanted(step)
        ]
        return [
            *plan.predictions(),
            *(path for step in tables for path in step.outputs),
        ]

    return paths


def reported(scope):
    """Input function: the report on a scope's rows, and what it rests on."""

    def paths(wildcards):
        plan = plan_of(scope)
        made = (plan.report(), plan.select_on_dev(), plan.significance())
        return [path for step in made for path in step.outputs]

    return paths


def submissions(wildcards):
    """The records of every submission."""
    return [path for step in PLAN.submissions().values() for path in step.outputs]


def fetched(scope):
    """Input function: datasets as they are prepared, and backbones that come from the hub or a directory."""

    def paths(wildcards):
        return [
            path
            for step in plan_of(scope).steps()
            if step.phase == "prepare"
            or (step.phase == "backbone" and "training" not in step.slice)
            for path in step.outputs
        ]

    return paths
