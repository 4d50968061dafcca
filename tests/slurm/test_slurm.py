"""The study through `snakemake --profile slurm` on a real SLURM, with what goes wrong on clusters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.slurm import cluster as slurm
from tests.slurm.cluster import Cluster
from tests.slurm.study import TOO_LITTLE, SlurmStudy, results, study
from tests.workspace import Workspace, kill, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(slurm.missing() is not None, reason=str(slurm.missing()))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm.running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The study run without SLURM, undisturbed."""
    workspace = Workspace(tmp_path_factory.mktemp("local"), study())
    workspace.run("all_matrix", "--until", "tabulate")
    return workspace


@pytest.fixture(scope="module")
def run(cluster: Cluster, local: Workspace, tmp_path_factory: pytest.TempPathFactory) -> SlurmStudy:
    """The study run through SLURM: the intermediate gets too little memory at first, then it is cancelled, and the node
    of a fine-tuning goes down."""
    changes = {"compute": {"resources": {"intermediate": {"mem_mb": TOO_LITTLE}}}}
    workspace = SlurmStudy(tmp_path_factory.mktemp("slurm"), cluster, study(**changes))
    for fetched in ("data", "world"):  # as after `snakemake all_data` on a login node
        shutil.copytree(local.results / fetched, workspace.results / fetched)
    process = workspace.submit("all_matrix", "--until", "tabulate")

    def lose() -> None:
        cluster.lose_node(wait_for("a fine-tuning's state", lambda: workspace.job_with_state("finetune"), process))

    # Side by side: on a fast machine either training may be over before the other has been disturbed.
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(lose)
        wait_for("a job over its memory", lambda: "exceeded memory limit" in workspace.told(), process)
        job = wait_for("an intermediate's state", lambda: workspace.job_with_state("intermediate"), process)
        cluster.call("scancel", job)
        lost.result()
    assert process.wait(900) == 0, workspace.told()[-6000:]
    return workspace


def test_every_result_is_that_of_the_local_run(local: Workspace, run: SlurmStudy) -> None:
    expected = results(local)
    assert len(expected) >= 10
    assert results(run) == expected


def test_trainings_went_on_where_they_were_stopped(run: SlurmStudy) -> None:
    for phase in ("finetune", "intermediate"):
        records = [json.loads(path.read_text()) for path in run.results.glob(f"{phase}/mini/**/record.json")]
        assert any(attempt["from_step"] > 0 for record in records for attempt in record["attempts"])


def test_too_little_memory_and_a_cancelled_job_are_retried_with_more(run: SlurmStudy) -> None:
    """Without cgroups SLURM kills the step that has too much, and the job fails; with them it is OUT_OF_MEMORY."""
    jobs = run.jobs("intermediate", "State", "ReqMem")
    ends = [(job["State"].split()[0], job["ReqMem"]) for job in jobs if job["State"] not in ("NODE_FAIL", "REQUEUED")]
    assert ends == [("FAILED", "850M"), ("CANCELLED", "1275M"), ("COMPLETED", "1700M")]


def test_a_job_that_lost_its_node_is_requeued_by_slurm_and_not_submitted_again(run: SlurmStudy) -> None:
    by_job: dict[str, list[str]] = {}
    for job in run.jobs("finetune", "JobID", "State"):
        by_job.setdefault(job["JobID"], []).append(job["State"])
    undisturbed, requeued = sorted(by_job.values(), key=len)
    assert undisturbed == ["COMPLETED"]
    assert (requeued[0], requeued[-1]) == ("NODE_FAIL", "COMPLETED")


def test_sacct_shows_what_was_requested(run: SlurmStudy) -> None:
    fields = ("ReqCPUS", "NNodes", "TimelimitRaw", "Account", "SubmitLine")
    for rule, cpus in {"intermediate": "2", "finetune": "2", "predict_pawsx": "1", "score": "1"}.items():
        for job in run.jobs(rule, *fields):
            assert (job["ReqCPUS"], job["NNodes"], job["TimelimitRaw"], job["Account"]) == (cpus, "1", "10", "lab")
            assert "--requeue" in job["SubmitLine"]


def test_light_rules_run_where_snakemake_does(run: SlurmStudy) -> None:
    for rule in ("tabulate", "preflight"):
        assert run.jobs(rule) == []


def test_what_a_job_finishes_after_its_snakemake_was_killed_is_found_by_the_next(run: SlurmStudy) -> None:
    run.configure(study(seeds={"intermediate": [3]}))
    process = run.submit("all_matrix", "--until", "intermediate")
    wait_for("an intermediate's state", lambda: run.job_with_state("intermediate"), process)
    kill(process)
    made = "intermediate/mini/mnli/seed-3/[!.]*/record.json"
    assert not list(run.results.glob(made))
    wait_for("the intermediate", lambda: list(run.results.glob(made)))
    run.run("all_matrix", "--unlock")
    planned = run.planned()
    assert planned["finetune"] > 0
    assert "intermediate" not in planned


def test_gpus_are_asked_for_on_one_node_and_a_user_s_mistake_is_told(run: SlurmStudy) -> None:
    """The GPUs here are pretended, so the job sees none, which is a mistake like any other."""
    cuda: Any = {"compute": {"device": "cuda"}, "seeds": {"intermediate": [2]}}
    run.configure(study(**cuda))
    process = run.submit("all_matrix", "--until", "intermediate")
    assert process.wait(300) == 1
    lines = [job["AllocTRES"] for job in run.jobs("intermediate", "AllocTRES", "SubmitLine")][-3:]
    assert [("node=1" in line, "gres/gpu=2" in line) for line in lines] == [(True, True)] * 3
    assert run.told().count("xstilts: no GPU is visible to this job") >= 3
