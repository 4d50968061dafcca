"""How a script ends, and what the attempts after a failed one do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.workspace import ROOT

WORK = """
import os, pathlib
from xstilts.errors import UserError
def work(job):
    with open(job["ran"], "a") as ran: ran.write(os.environ.get("HF_HUB_OFFLINE", "-"))
    if job["fails"] == "mistake": raise UserError("data/x.tsv:3: no label; add it")
    if job["fails"] == "crash": raise RuntimeError("disk on fire")
def memory(job):
    block = bytearray(job["bytes"])
    del block
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    pathlib.Path(job["resident"]).write_text(str(pages * os.sysconf("SC_PAGE_SIZE")))
"""


class Script:
    """A script on one job, run as a rule does."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.log = directory, directory / "log"
        (directory / "work.py").write_text(WORK, encoding="utf-8")

    def run(self, fails: str, attempt: int, step: str = "finetune") -> tuple[int, str]:
        """Exit code, and what the terminal shows."""
        job = {"name": "finetune/x", "fails": fails, "ran": str(self.directory / "ran"), "plan": {"step": step}}
        (self.directory / "job.json").write_text(json.dumps(job), encoding="utf-8")
        code = "from xstilts.job import main; main('work:work')"
        command = [sys.executable, "-c", code, "job.json", "log", str(attempt)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{self.directory}"}
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    @property
    def times(self) -> int:
        """How often the work was done."""
        return len((self.directory / "ran").read_text())


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_mistake_is_not_computed_again_by_the_attempts_after_it(script: Script) -> None:
    line = "xstilts: finetune/x: data/x.tsv:3: no label; add it\n"
    assert [script.run("mistake", attempt) for attempt in (1, 2, 3)] == [(1, line)] * 3
    assert script.times == 1


def test_a_run_after_the_mistake_was_mended_looks_afresh(script: Script) -> None:
    script.run("mistake", 1)
    assert script.run("crash", 1)[0] == 1
    assert script.run("nothing", 2) == (0, "")
    assert script.times == 3


def test_another_failure_is_tried_again_and_its_traceback_is_in_the_log(script: Script) -> None:
    line = "xstilts: finetune/x: RuntimeError: disk on fire (see log)\n"
    assert [script.run("crash", attempt) for attempt in (1, 2)] == [(1, line)] * 2
    assert script.times == 2
    assert script.log.read_text(encoding="utf-8").count("Traceback") == 2


def test_only_steps_that_fetch_may_use_the_network(script: Script) -> None:
    for step in ("finetune", "prepare", "backbone"):
        script.run("nothing", 1, step)
    assert (script.directory / "ran").read_text() == "1--"


@pytest.mark.parametrize(("device", "keeps"), [("cpu", True), ("cuda", False)])
def test_a_job_that_computes_on_a_cpu_keeps_what_it_frees(tmp_path: Path, device: str, keeps: bool) -> None:
    (tmp_path / "work.py").write_text(WORK, encoding="utf-8")
    size, resident = 128 * 2**20, tmp_path / "resident"
    job = {"name": "x", "compute": {"device": device}, "bytes": size, "resident": str(resident)}
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}"}
    command = [sys.executable, "-c", "from xstilts.job import main; main('work:memory')", str(tmp_path / "job.json")]
    subprocess.run(command, env=environment, check=True)
    assert (int(resident.read_text()) > size) is keeps
