"""Many fake hosts behind one local sshd: each is an alias in an ssh configuration, with its name in the environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.demo.fakehost import HANGS

ROOT = Path(__file__).parents[2]
SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
AcceptEnv KVMFW_FAKE_HOST
MaxStartups 500
LogLevel ERROR
"""
ALIAS = """Host {host}
  HostName 127.0.0.1
  Port {port}
  SetEnv KVMFW_FAKE_HOST={host}
"""
ALL = """Host *
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking no
  LogLevel ERROR
"""
PYTHON = """#!/bin/sh
export PYTHONPATH={path} KVMFW_FAKE_HOSTS={folder}/hosts.json
exec {python} -m tests.demo.fakehost "$@"
"""


@dataclass(frozen=True)
class Hosts:
    """How fake hosts are reached.

    Attributes
    ----------
    ssh : str
        The ssh command.
    python : str
        The interpreter there.
    inventory : Path
        Their list.
    """

    ssh: str
    python: str
    inventory: Path


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _sshd() -> str:
    found = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise SystemExit("there is no sshd: apt-get install openssh-server openssh-client")
    return found


@contextmanager
def fake_hosts(
    folder: Path, captures: Mapping[str, Path], dead: int = 0, hanging: int = 0
) -> Iterator[Hosts]:
    """Start an sshd with these hosts (name -> capture) behind it; others refuse connections or never answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True)
    port, closed = _free_port(), _free_port()
    told = {name: str(path) for name, path in captures.items()}
    told |= {f"hanging-{at}": HANGS for at in range(hanging)}
    gone = [f"dead-{at}" for at in range(dead)]
    (folder / "hosts.json").write_text(json.dumps(told))
    aliases = [ALIAS.format(host=host, port=port) for host in told]
    aliases += [ALIAS.format(host=host, port=closed) for host in gone]
    (folder / "config").write_text("".join(aliases) + ALL.format(folder=folder))
    (folder / "sshd_config").write_text(SSHD.format(port=port, folder=folder))
    python = folder / "python3"
    path = f"{ROOT / 'python'}:{ROOT}"
    python.write_text(PYTHON.format(path=path, folder=folder, python=sys.executable))
    python.chmod(0o755)
    inventory = folder / "hosts.txt"
    inventory.write_text("".join(f"{host}\n" for host in (*told, *gone)))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it keeps its unprivileged part
    command = [_sshd(), "-D", "-E", str(folder / "log"), "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command) as sshd:
        try:
            end = time.monotonic() + 20
            while not _answers(port):
                if sshd.poll() is not None or time.monotonic() > end:
                    raise SystemExit("sshd does not start")
                time.sleep(0.05)
            yield Hosts(f"ssh -F {folder / 'config'}", str(python), inventory)
        finally:
            sshd.terminate()
