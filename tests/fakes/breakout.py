"""A program that tries to break out: `python -m tests.fakes.breakout OUT PLAN [--then COMMAND …]`.

PLAN is a JSON file of what it is to try (see `Plan`); OUT gets {attack: "escaped" or how it was stopped}. Nothing is
harmed where an attack succeeds. With `--then` it becomes that command, a model server: so it is started as one.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

O_PATH_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET = 0x10000000, 0x20000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Plan:
    """What there is to be had outside: all of it real, made by the test."""

    port: int  # where a listener of this machine waits, on loopback
    address: str  # another of this machine's own addresses
    secrets: list[str]  # files of the same user
    directories: list[str]  # which that user may write to
    orders: str  # the service's socket for its operator's orders
    run_socket: str  # a UNIX socket below /run, or ""
    service: int  # pid of the supervisor


def libc(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def probes(name: str, *arguments: object) -> None:
    """With arguments that cannot work: whoever is told so, and not that it may not, would have been let through."""
    try:
        libc(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise


def connects(family: int, kind: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        if kind == socket.SOCK_DGRAM:
            sock.sendto(b"secret", address)
        else:
            sock.connect(address)


def makes(directory: str) -> None:
    path = Path(directory, f"made-by-{os.getpid()}")
    os.close(os.open(path, O_PATH_WRITE, 0o600))
    path.unlink()


def through_a_link(secret: str) -> None:
    link = Path(os.environ["TMPDIR"], "link")  # noqa: TID251 - a program's own
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    link.read_bytes()


def by_hard_link(secret: str) -> None:
    link = Path(os.environ["TMPDIR"], "hard")  # noqa: TID251 - a program's own
    link.hardlink_to(secret)
    link.read_bytes()


def orders(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(path)
        sock.sendall(b'{"do": "lift"}\n')
        told = json.loads(sock.makefile("rb").readline())
    if not told["good"]:
        raise PermissionError(errno.EPERM, told["text"])


def enters_network(pid: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    libc("setns", descriptor, CLONE_NEWNET)


def attacks(plan: Plan) -> dict[str, Callable[[], object]]:
    """By name; each raises OSError when it was stopped."""
    inet, stream, datagram = socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
    found: dict[str, Callable[[], object]] = {
        "tcp_loopback": lambda: connects(inet, stream, ("127.0.0.1", plan.port)),
        "tcp_own_address": lambda: connects(inet, stream, (plan.address, plan.port)),
        "udp": lambda: connects(inet, datagram, (plan.address, 9)),
        "vsock": lambda: socket.socket(socket.AF_VSOCK, stream),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "raw": lambda: socket.socket(inet, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "log": lambda: connects(socket.AF_UNIX, datagram, "/dev/log"),
        "orders": lambda: orders(plan.orders),
        "network_of_the_service": lambda: enters_network(plan.service),
        "network_of_init": lambda: enters_network(1),
        "new_user_namespace": lambda: libc("unshare", CLONE_NEWUSER),
        "new_mounts": lambda: libc("unshare", CLONE_NEWNS),
        "mount": lambda: probes("mount", None, None, None, 0, None),
        "unmount": lambda: probes("umount2", None, 0),
        "chroot": lambda: libc("chroot", b"/"),
        "ptrace": lambda: probes("ptrace", 16, 0x7FFFFFFF, None, None),
        "environment_of_the_service": lambda: Path(f"/proc/{plan.service}/environ").read_bytes(),
        "root_of_the_service": lambda: list(Path(f"/proc/{plan.service}/root").iterdir()),
        "signal": lambda: os.kill(plan.service, 0),
        "passwd": Path("/etc/passwd").read_bytes,
        "tmp": lambda: makes("/tmp"),
        "own_code": lambda: makes(str(Path(__file__).parent)),
    }
    if plan.run_socket:
        found["run_socket"] = lambda: connects(socket.AF_UNIX, stream, plan.run_socket)
    for number, secret in enumerate(plan.secrets):
        found[f"read_{number}"] = Path(secret).read_bytes
        found[f"link_{number}"] = lambda secret=secret: through_a_link(secret)  # type: ignore[misc]
        found[f"hard_link_{number}"] = lambda secret=secret: by_hard_link(secret)  # type: ignore[misc]
    for number, directory in enumerate(plan.directories):
        found[f"write_{number}"] = lambda directory=directory: makes(directory)  # type: ignore[misc]
    return found


def attempt(attack: Callable[[], object]) -> str:
    try:
        attack()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "escaped"


def main() -> None:
    out, plan = Path(sys.argv[1]), Plan(**json.loads(Path(sys.argv[2]).read_text()))
    results = {}
    for name, attack in attacks(plan).items():
        child = os.fork()  # what changes the process that tries it concerns no other
        if child == 0:
            Path(f"{out}.{name}").write_text(attempt(attack))
            os._exit(0)
        os.waitpid(child, 0)
        results[name] = Path(f"{out}.{name}").read_text()
        Path(f"{out}.{name}").unlink()
    out.write_text(json.dumps(results))
    if sys.argv[3:4] == ["--then"]:
        os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
