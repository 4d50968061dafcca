"""A real SLURM of two nodes on this host, from Debian's packages, for tests and campaigns.

The packages are unpacked into a directory of their own (`tests/slurm/unpack.sh`), never installed: with SLURM's
clients on the PATH and no slurmctld that answers, the executor plugin makes every start of Snakemake wait for ten
seconds.

    python -m tests.slurm.cluster        # starts one, prints the environment to use, stops it at Ctrl-C or SIGTERM
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = Path(os.environ.get("XSTILTS_SLURM", "/opt/xstilts-slurm"))
NODES = ("n1", "n2")
GPUS = 2
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/slurm-wlm", "lib/x86_64-linux-gnu")
_PLUGINS = PACKAGES / _LIBRARIES[1]
_PATIENCE = 120.0

_SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired (by default two minutes), so that its old processes have
# ended when it comes back to the same node: else it would be held.
AuthInfo=socket={base}/munge.socket,cred_expire=30
PluginDir={plugins}
StateSaveLocation={base}/state
SlurmctldPidFile={base}/slurmctld.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdPidFile={base}/%n.pid
SlurmdLogFile={base}/%n.log
SlurmdSpoolDir={base}/spool-%n
# No cgroups: containers often have none to give.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Without the second line sacct shows no GPUs, without the third no rules.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[1]}
AccountingStoragePass={base}/munge.socket
# Memory limits without cgroups: slurmd looks every two seconds and kills what is over.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill,UsePss
JobAcctGatherFrequency=2
KillWait=5
# A node that was set down returns by itself once its slurmd answers, and soon, so that requeued jobs start again.
ReturnToService=2
SlurmdTimeout=10
SchedulerParameters=sched_interval=2
# The host may have fewer cores and less memory than two nodes pretend.
SlurmdParameters=config_overrides
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP OverTimeLimit=0
"""
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=20000 Gres=gpu:{gpus}"
_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[1]}
SlurmUser=root
PidFile={base}/slurmdbd.pid
LogFile={base}/slurmdbd.log
PluginDir={plugins}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def missing() -> str | None:
    """Why there can be no SLURM here, if so."""
    if os.geteuid() != 0:
        return "SLURM is started as root only"
    if not (PACKAGES / "usr/bin/sbatch").exists():
        return f"no SLURM at {PACKAGES}; unpack it with tests/slurm/unpack.sh"
    return None


class Cluster:
    """SLURM with accounting, two nodes of eight CPUs and two GPUs each (pretended: empty files)."""

    def __init__(self, base: Path) -> None:
        self.base = base
        paths = [str(base), *(str(PACKAGES / folder) for folder in ("usr/bin", "usr/sbin"))]
        libraries = [str(PACKAGES / folder) for folder in _LIBRARIES]
        self.environment = {
            **os.environ,
            "PATH": ":".join([*paths, os.environ["PATH"]]),
            "LD_LIBRARY_PATH": ":".join(libraries),
            "SLURM_CONF": str(base / "slurm.conf"),
            "MYSQL_UNIX_PORT": str(base / "database.socket"),
        }

    def start(self) -> None:
        """Start everything, and wait until both nodes take jobs."""
        self._configure()
        self._daemon("munged", "--force", f"--key-file={self.base}/munge.key", *self._munge_files())
        self._start_database()
        self._daemon("slurmdbd")
        _wait("slurmdbd", lambda: self._succeeds("sacctmgr", "-n", "show", "cluster"))
        self.call("sacctmgr", "-i", "add", "cluster", "test")
        self.call("sacctmgr", "-i", "add", "account", "lab")
        self.call("sacctmgr", "-i", "add", "user", "root", "account=lab")
        self._daemon("slurmctld")
        for node in NODES:
            self.start_node(node)
        _wait("two idle nodes", lambda: self.states() == ["idle"] * len(NODES))

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._daemon("slurmd", "-N", node, "-d", str(PACKAGES / "usr/sbin/slurmstepd"))

    def kill_node(self, node: str) -> None:
        """Kill a node's slurmd as a crash would; its jobs' processes live on."""
        os.kill(int((self.base / f"{node}.pid").read_text()), signal.SIGKILL)

    def lose_node(self, job: str) -> None:
        """Set a job's node down; it returns by itself, since its slurmd lives."""
        node = self.call("squeue", "-h", "-j", job, "-o", "%N").strip()
        self.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def call(self, *command: str) -> str:
        """Run a SLURM command; returns what it prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def states(self) -> list[str]:
        """The nodes' states; none while slurmctld does not answer."""
        command = ("sinfo", "-h", "-N", "-o", "%T")
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout.split()

    def jobs(self, *fields: str) -> list[dict[str, str]]:
        """What sacct knows of every job, requeued runs included."""
        lines = self.call("sacct", "-X", "-n", "-P", "--duplicates", f"--format={','.join(fields)}").splitlines()
        return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]

    def stop(self) -> None:
        """End all jobs and daemons."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.call("scancel", "--user=root")
            _wait("the jobs' end", lambda: not self.call("squeue", "-h"))
        for name in (*NODES, "slurmctld", "slurmdbd", "munged", "database"):
            _end(self.base / f"{name}.pid")

    def _configure(self) -> None:
        self.base.joinpath("state").mkdir(parents=True)
        for number in range(GPUS):
            (self.base / f"gpu{number}").touch()
        (self.base / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.base / "munge.key").chmod(0o400)
        ports, host = _free_ports(2 + len(NODES)), socket.gethostname()
        nodes = [
            _NODE.format(name=name, host=host, port=port, gpus=GPUS)
            for name, port in zip(NODES, ports[2:], strict=True)
        ]
        values = {"host": host, "base": self.base, "plugins": _PLUGINS, "ports": ports}
        text = _SLURM_CONF.format(**values, nodes="\n".join(nodes), names=",".join(NODES))
        (self.base / "slurm.conf").write_text(text)
        (self.base / "slurmdbd.conf").write_text(_SLURMDBD_CONF.format(**values))
        (self.base / "slurmdbd.conf").chmod(0o600)
        # The plugin keeps no SLURM_CONF for the job's own srun, which would then look in /etc.
        srun = f'#!/bin/sh\nSLURM_CONF={self.base}/slurm.conf exec {PACKAGES}/usr/bin/srun "$@"\n'
        (self.base / "srun").write_text(srun)
        (self.base / "srun").chmod(0o755)
        gres = f"NodeName={','.join(NODES)} Name=gpu File={self.base}/gpu[0-{GPUS - 1}]\n"
        (self.base / "gres.conf").write_text(gres)

    def _munge_files(self) -> list[str]:
        files = {
            "socket": "munge.socket",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "munge.seed",
        }
        return [f"--{option}={self.base / name}" for option, name in files.items()]

    def _start_database(self) -> None:
        shared = ["--no-defaults", f"--basedir={PACKAGES}/usr", f"--datadir={self.base}/database", "--user=root"]
        install = ["mariadb-install-db", *shared, "--auth-root-authentication-method=normal", "--skip-test-db"]
        self.call(*install)
        only_for_us = ["--skip-networking", "--skip-grant-tables", "--innodb-flush-log-at-trx-commit=0"]
        files = [f"--socket={self.base}/database.socket", f"--pid-file={self.base}/database.pid"]
        with (self.base / "database.log").open("w") as log:
            server = ["mariadbd", *shared, *files, *only_for_us]
            subprocess.Popen(server, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        _wait("the database", (self.base / "database.socket").exists)

    def _daemon(self, *command: str) -> None:
        # Each puts itself into the background; jobs must not inherit a pipe that the caller waits for.
        with (self.base / "daemons.log").open("a") as log:
            subprocess.run(command, env=self.environment, stdout=log, stderr=log, check=True, timeout=60)

    def _succeeds(self, *command: str) -> bool:
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that lives as long as the block; its files go with it."""
    # Sockets' paths are limited to 108 bytes, which pytest's own directories may exceed.
    base = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(base / "c")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(base, ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(what: str, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        assert time.monotonic() < deadline, f"no {what} after {_PATIENCE:.0f} s"
        time.sleep(0.2)


def _end(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with running() as started:
        for name in ("PATH", "LD_LIBRARY_PATH", "SLURM_CONF"):
            print(f"export {name}={started.environment[name]}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
