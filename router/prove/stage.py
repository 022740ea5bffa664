"""The isolated network: how it is entered, and what is set up in it. Nothing here touches the machine's own network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

NAMESERVER: Final = "10.255.255.53"
NEEDED: Final = {"ip": "iproute2", "unshare": "util-linux", "nft": "nftables", "mount": "mount"}
_SETUP: Final = (
    "ip link set lo up",
    "ip route add local 0.0.0.0/0 dev lo",
    "ip -6 route add local ::/0 dev lo",
)


class CannotProve(Exception):
    """No isolated network can be made on this machine; the message says what lacks."""


def entering() -> list[str]:
    """The command in front of what is to run isolated. CannotProve: there is no way in."""
    lacking = sorted({package for command, package in NEEDED.items() if shutil.which(command) is None})
    if lacking:
        raise CannotProve(f"this needs {', '.join(lacking)}: run 'make tools', or apt-get install {' '.join(lacking)}")
    own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = own if os.geteuid() == 0 else [*own, "--user", "--map-root-user"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        why = tried.stderr.strip() or "refused"
        raise CannotProve(f"no network namespace can be made here ({why}): run as root, or allow user namespaces")
    return command


def set_up(directory: Path) -> None:
    """Inside: every address is this machine, and every name is asked of ours."""
    for line in _SETUP:
        _run(line.split())
    resolver = directory / "resolv.conf"
    resolver.write_text(f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    _run(["mount", "--bind", str(resolver), str(Path("/etc/resolv.conf").resolve())])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotProve(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
