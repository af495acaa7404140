"""Sixteen nodes, each with a copy of its own shard alone and no network: they train, and send nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

from spectral_prep.spectrum import SpectralSpec
from spectral_train.ensemble.evaluate import evaluate
from spectral_train.run.paths import RunPaths
from tests.support.shards import draw, make_shards

NODES = 16
PROGRAM = """
import os, socket, sys, time
from dataclasses import replace
from pathlib import Path

def refused(*arguments, **options):
    raise OSError("a node used a socket")

class NoSocket(socket.socket):
    connect = connect_ex = bind = listen = sendto = sendmsg = refused

socket.socket = NoSocket
socket.create_connection = socket.getaddrinfo = refused

import torch
import torch._dynamo, torch.utils.tensorboard  # once, not sixteen times
from spectral_train.training.branch import train_branches
from tests.support.runs import QUICK, on_cpu

root = Path(sys.argv[1])
torch.set_num_threads(1)
nodes = []
for k in range(16):
    nodes.append(os.fork())
    if not nodes[-1]:
        code = 1
        try:
            (root / f"ready-{k}").touch()  # all are there before the first one goes on
            while len(list(root.glob("ready-*"))) < 16:
                time.sleep(0.01)
            train_branches(on_cpu(root / f"node-{k}", root / f"run-{k}", replace(QUICK, epochs=1)), k)
            code = 0
        finally:
            os._exit(code)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(node, 0)[1]) != 0 for node in nodes))
"""


def alone() -> list[str]:
    """Return the prefix that runs a command in a namespace without any network, where the system permits one."""
    prefix = ["unshare", "--net", "--map-root-user"]
    permitted = shutil.which("unshare") and subprocess.run([*prefix, "true"], check=False, stderr=subprocess.DEVNULL)
    return prefix if permitted and permitted.returncode == 0 else []


def test_sixteen_nodes_without_a_network_train_at_the_same_time(tmp_path: Path) -> None:
    data = make_shards(tmp_path / "data", train=draw(60, 16), test=draw(20, 16), spec=SpectralSpec(4, 4))
    for k in range(NODES):
        shutil.copytree(data / f"spectral-{k:02d}", tmp_path / f"node-{k}" / f"spectral-{k:02d}")
    subprocess.run([*alone(), sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    whole = tmp_path / "run"
    for k in range(NODES):
        shutil.copytree(RunPaths(tmp_path / f"run-{k}").branch(k).root, RunPaths(whole).branch(k).root)
    assert len(evaluate(whole).branches) == NODES
