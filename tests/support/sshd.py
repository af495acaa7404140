"""OpenSSH's server itself on loopback, with keys of its own; every host named `node-…` is this machine."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import found, free_port, running, wait_until

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
CLIENT = """
Host node-*
  HostName 127.0.0.1
  Port {port}
Host gone
  HostName 127.0.0.1
  Port {unused}
Host *
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""


@contextmanager
def server(folder: Path) -> Iterator[Path]:
    """Start it, or skip the test where it is not installed; yield the configuration for `ssh -F`."""
    sshd, keygen, *_ = found("openssh-server rsync", "sshd", "ssh-keygen", "ssh", "rsync")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it drops its privileges there
    for name in ("host", "key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    places = {"folder": folder, "port": port, "unused": free_port()}
    (folder / "sshd_config").write_text(SERVER.format(**places))
    (folder / "config").write_text(CLIENT.format(**places))
    log = folder / "sshd.log"
    with running(log, sshd, "-D", "-e", "-f", str(folder / "sshd_config")):
        wait_until(lambda: _answers(port), log.read_text)
        yield folder / "config"


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
