"""Slurm itself, of one node: munged, slurmctld and slurmd on loopback, on ports and in a folder of their own."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.services import found, free_port, running, wait_until

CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=main Nodes=ALL Default=YES State=UP
"""
"""A job that is requeued waits for as long as a credential lives: five seconds, the least there is, not two minutes."""


@dataclass(frozen=True)
class Slurm:
    """A running cluster, as its commands see it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What a shell needs to reach it; jobs inherit it."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def __call__(self, *command: str) -> str:
        """Run one of Slurm's commands and return what it says."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def waiting(self) -> list[str]:
        """Return the names of the jobs that are not yet done."""
        return self("squeue", "--noheader", "--format=%j").split()

    def job(self, name: str) -> str:
        """Return the number of the job, or of the array, that has a name."""
        return self("squeue", "--noheader", f"--name={name}", "--format=%F").split()[0]

    def clear(self) -> None:
        """Cancel every job, and wait until their processes have ended."""
        self("scancel", f"--user={getpass.getuser()}")
        wait_until(lambda: not self.waiting(), lambda: f"cancelled, but there: {self.waiting()}")


@contextmanager
def cluster() -> Iterator[Slurm]:
    """Start a cluster, or skip the test where Slurm is not installed; its jobs and daemons end with it."""
    munged, slurmctld, slurmd, *_ = found("slurm-wlm munge", "munged", "slurmctld", "slurmd", "sbatch", "scontrol")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path is short, and munge wants its folders open
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    ports = {"controller": free_port(), "node": free_port()}
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, user=user, folder=folder, **ports))
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    places = {"socket": "munge.sock", "key-file": key.name, "pid-file": "munged.pid", "seed-file": "munged.seed"}
    options = [f"--{name}={folder / place}" for name, place in {**places, "log-file": "munged.log"}.items()]
    slurm, logs = Slurm(folder), {name: folder / f"{name}.log" for name in ("munge", "slurmctld", "slurmd")}

    def said() -> str:
        return "\n".join(log.read_text() for log in logs.values() if log.exists())

    configuration = ("-D", "-f", str(folder / "slurm.conf"))
    try:
        with ExitStack() as stack:
            stack.enter_context(running(logs["munge"], munged, "--foreground", *options))
            wait_until((folder / "munge.sock").exists, said)
            stack.enter_context(running(logs["slurmctld"], slurmctld, *configuration, env=slurm.env))
            stack.enter_context(running(logs["slurmd"], slurmd, *configuration, env=slurm.env))
            wait_until(lambda: _is_idle(slurm), said)
            stack.callback(slurm.clear)
            yield slurm
    finally:
        shutil.rmtree(folder)


def _is_idle(slurm: Slurm) -> bool:
    done = subprocess.run(["sinfo", "--noheader", "--format=%T"], env=slurm.env, capture_output=True, text=True)
    return done.stdout.strip() == "idle"
