"""Jobs on one machine get GPUs of their own, also after a holder was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.workspace import ROOT

from xstilts import lease

_SHOW = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"


class Holders:
    """Commands that hold GPUs until they are released."""

    def __init__(self, temporary: Path, visible: str) -> None:
        own = {"TMPDIR": str(temporary), "CUDA_VISIBLE_DEVICES": visible, "PYTHONPATH": str(ROOT / "src")}
        self._environment = {**os.environ, **own}
        self.all: list[subprocess.Popen[str]] = []

    def start(self, number: int = 1) -> subprocess.Popen[str]:
        """A command that says which GPUs it got, and holds them."""
        command = [sys.executable, "-m", "xstilts.lease", str(number), sys.executable, "-c", _SHOW]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.all.append(subprocess.Popen(command, env=self._environment, text=True, **pipes))  # type: ignore[call-overload]
        return self.all[-1]


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[Holders]:
    holders = Holders(tmp_path, "0,1,2,3")
    yield holders
    for process in holders.all:
        process.kill()
        process.communicate()


def _got(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_four_jobs_see_four_devices_also_after_a_holder_was_killed(holders: Holders) -> None:
    four = [holders.start() for _ in range(4)]
    seen = {_got(process): process for process in four}
    assert sorted(seen) == ["0", "1", "2", "3"]
    successor = holders.start()  # waits
    seen["2"].send_signal(signal.SIGKILL)
    assert _got(successor) == "2"


def test_a_device_is_held_as_long_as_any_process_of_the_job_lives(holders: Holders) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_SHOW!r}], close_fds=False)"
    command = [sys.executable, "-m", "xstilts.lease", "4", sys.executable, "-c", code]
    launcher = subprocess.Popen(
        command, env=holders._environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline().strip() == "0,1,2,3"
    assert launcher.wait() == 0
    successor = holders.start()
    with pytest.raises(subprocess.TimeoutExpired):
        successor.wait(1.0)
    launcher.communicate()  # its child ends with its input
    assert _got(successor) == "0"


def test_jobs_of_several_devices_take_all_or_wait(holders: Holders) -> None:
    assert {_got(holders.start(2)), _got(holders.start(2))} == {"0,1", "2,3"}
    third = holders.start(3)
    for process in holders.all[:2]:
        process.communicate()
    assert _got(third) == "0,1,2"


def test_names_of_devices_are_kept_as_the_scheduler_gave_them(tmp_path: Path) -> None:
    named = Holders(tmp_path, "GPU-8932f937,MIG-6f0e/1/0").start(2)
    assert _got(named) == "GPU-8932f937,MIG-6f0e/1/0"
    named.communicate()


def test_allocations_whose_devices_have_the_same_names_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = []
    for allocation in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", allocation)
        running.append(Holders(tmp_path, "0").start())
    assert [_got(process) for process in running] == ["0", "0"]
    for process in running:
        process.communicate()


def test_without_a_list_every_gpu_of_the_machine_may_be_leased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU-a; echo GPU-b\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert lease.pool() == ["GPU-a", "GPU-b"]


@pytest.mark.parametrize(
    ("visible", "number", "line"),
    [
        (
            "0,1",
            3,
            "xstilts: 3 GPUs are wanted, but 2 visible (0,1); ask the scheduler for 3, or lower compute.ranks\n",
        ),
        ("", 1, "xstilts: no GPU is visible to this job: CUDA_VISIBLE_DEVICES is empty; ask the scheduler for one"),
    ],
)
def test_too_few_devices_end_in_one_line(tmp_path: Path, visible: str, number: int, line: str) -> None:
    process = Holders(tmp_path, visible).start(number)
    error = process.communicate()[1]
    assert process.returncode == 1
    assert error.startswith(line)
    assert error.count("\n") == 1
