"""A sealed process attacks itself: every way out that is known, tried against its own loopback sockets.

Nothing is harmed where an attack succeeds: calls are made with arguments that cannot work, so that the kernel's
answer tells whether the filter let them through, or on sockets that were made for it. E1 to E10 are the escapes of
docs/threat-model.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

from router.seal import namespace
from router.seal.attestation import Attempt, Part, Result
from router.seal.machine import PR_SET_DUMPABLE, call
from router.seal.profiles import MSG_FASTOPEN, Profile

REFUSED: Final = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS}
NOT_BUILT_IN: Final = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}
CLONE_NEWUSER_AND_FS: Final = 0x10000200  # which the kernel itself refuses, with EINVAL
AF_UNSPEC: Final = struct.pack("=H14x", 0)
IPPROTO_MPTCP: Final = 262
SOURCE_ROUTE: Final = bytes([137, 7, 4, 127, 0, 0, 1, 0])  # strict, by way of 127.0.0.1 (RFC 791)
O_TMPFILE: Final = os.O_TMPFILE | os.O_WRONLY

Do = Callable[["Prey"], object]


class Prey(NamedTuple):
    """Sockets as a process may hold them, made before it is sealed, on this machine's loopback.

    `elsewhere` stands for the attacker's machine. Without a loopback the attacks that need one are not tried.
    """

    elsewhere: socket.socket
    listener: socket.socket
    connected: socket.socket
    accepted: socket.socket
    pair: socket.socket
    files: tuple[str, str]  # one that nobody may read, one that nobody may write

    @property
    def address(self) -> bytes:
        """The sockaddr_in of `elsewhere`."""
        host, port = self.elsewhere.getsockname()
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


@contextlib.contextmanager
def prey(unreadable: str, unwritable: str) -> Iterator[Prey | None]:
    """None where this machine has no IPv4 loopback."""
    with contextlib.ExitStack() as stack:
        try:
            elsewhere, listener = (stack.enter_context(_listening()) for _ in range(2))
            connected = stack.enter_context(socket.socket())
            connected.connect(listener.getsockname())
            accepted = stack.enter_context(listener.accept()[0])
        except OSError:
            yield None
            return
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        yield Prey(elsewhere, listener, connected, accepted, stack.enter_context(ours), (unreadable, unwritable))


def _listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(4)
    sock.setblocking(False)
    return sock


class Attack(NamedTuple):
    name: str
    do: Do
    part: Part = Part.SECCOMP
    profiles: tuple[Profile, ...] = tuple(Profile)


def attack_self(
    profile: Profile, installed: tuple[Part, ...], targets: Prey | None, granted: Collection[str] = ()
) -> tuple[Attempt, ...]:
    """Try every attack that concerns this kind of process and the parts that are in force, but those `granted` it."""
    mine = [attack for attack in ATTACKS if profile in attack.profiles and attack.part in installed]
    return tuple(_try(attack, targets) for attack in mine if attack.name not in granted)


def _try(attack: Attack, targets: Prey | None) -> Attempt:
    if targets is None:
        return Attempt(attack.name, attack.part, Result.UNAVAILABLE, "no loopback")
    try:
        attack.do(targets)
    except OSError as error:
        code = error.errno or 0
        return Attempt(attack.name, attack.part, _judge(code, attack.part), errno.errorcode.get(code, str(code)))
    return Attempt(attack.name, attack.part, Result.ESCAPED)


def _judge(code: int, part: Part) -> Result:
    if code in REFUSED:
        return Result.BLOCKED
    absent = code in NOT_BUILT_IN or (part is Part.LANDLOCK and code in {errno.ENOENT, errno.EOPNOTSUPP})
    return Result.UNAVAILABLE if absent else Result.ESCAPED


# --- E1 to E4: sockets that are held, aimed elsewhere ---


def _reaim(sock: socket.socket, targets: Prey) -> None:
    call("connect", sock.fileno(), AF_UNSPEC, len(AF_UNSPEC))
    call("connect", sock.fileno(), targets.address, 16)


def _fast_open(targets: Prey) -> None:
    with contextlib.suppress(OSError):
        targets.listener.shutdown(socket.SHUT_RDWR)
    call("sendto", targets.listener.fileno(), b"x", 1, MSG_FASTOPEN, targets.address, 16)


def _fast_open_message(targets: Prey) -> None:
    with contextlib.suppress(OSError):
        targets.listener.shutdown(socket.SHUT_RDWR)
    targets.listener.sendmsg([b"x"], [], MSG_FASTOPEN, targets.elsewhere.getsockname())


# --- E5 to E8: other doors into the kernel, other threads ---


def _ring(_targets: Prey) -> None:
    parameters = ctypes.create_string_buffer(120)
    os.close(call("io_uring_setup", 1, parameters))


def _in_a_thread(_targets: Prey) -> None:
    """A filter holds the threads that come after it; those that were there before are counted before sealing."""
    failures: list[OSError] = []

    def run() -> None:
        try:
            _socket(socket.AF_PACKET, socket.SOCK_RAW)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


# --- E9: new sockets ---


def _socket(family: int, kind: int, protocol: int = 0) -> None:
    os.close(call("socket", family, kind, protocol))


def _opens(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> Do:
    return lambda _targets: _socket(family, kind, protocol)


def _connect(targets: Prey) -> None:
    socket.create_connection(targets.elsewhere.getsockname(), 1).close()


def _datagram_pair(_targets: Prey) -> None:
    """An AF_UNIX datagram socket would reach /dev/log, and through it another machine."""
    for descriptor in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        descriptor.close()


def _source_route(targets: Prey) -> None:
    """Packets of a connection to a listed host, sent by way of another one."""
    targets.connected.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, SOURCE_ROUTE)
    targets.connected.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")


def _device(targets: Prey) -> None:
    targets.connected.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")


# --- E10: other processes, and what would change this one's rules ---


def _calls(name: str, *arguments: int | bytes | None) -> Do:
    """With arguments that cannot work, or do nothing."""
    return lambda _targets: call(name, *arguments)


def _peek(_targets: Prey) -> None:
    """Its own memory, by the call that reads another's."""
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 1)
    call("process_vm_readv", os.getpid(), vector, 1, vector, 1, 0)


def _fork(_targets: Prey) -> None:
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        os._exit(0)


def _signal_parent(_targets: Prey) -> None:
    os.kill(os.getppid(), 0)


# --- files, network ---


def _read(targets: Prey) -> None:
    os.close(os.open(targets.files[0], os.O_RDONLY))


def _write(targets: Prey) -> None:
    os.close(os.open(targets.files[1], os.O_WRONLY))


def _make(place: str) -> Do:
    """A file without a name, which is gone when it is closed."""
    return lambda _targets: os.close(os.open(place, O_TMPFILE, 0o600))


def _networks(_targets: Prey) -> None:
    if not namespace.interfaces():
        raise OSError(errno.EPERM, "an empty network")


INSIDE: Final = ("tcp_connect", "udp")  # no attacks in a network of one's own
_SHUT: Final = (Profile.WORKER, Profile.ENGINE)  # no new connection of any kind
_OURS: Final = (Profile.GATE, Profile.WORKER, Profile.ENGINE)  # a program may do so, in a network of its own
_ALONE: Final = (Profile.WORKER, Profile.GATE)  # no children, and no signals to others by seccomp alone

ATTACKS: Final = (
    Attack("E1_reaim_passed", lambda prey: _reaim(prey.connected, prey), profiles=_SHUT),
    Attack("E2_reaim_accepted", lambda prey: _reaim(prey.accepted, prey), profiles=_SHUT),
    Attack("E3_fast_open_sendto", _fast_open),
    Attack("E4_fast_open_sendmsg", _fast_open_message),
    Attack("E5_ring_setup", _ring),
    Attack("E6_ring_enter", _calls("io_uring_enter", -1, 0, 0, 0, None, 0)),
    Attack("E7_ring_register", _calls("io_uring_register", -1, 0, None, 0)),
    Attack("E8_thread", _in_a_thread),
    Attack("E9_inet", _opens(socket.AF_INET), profiles=_SHUT),
    Attack("E9_inet6", _opens(socket.AF_INET6), profiles=_SHUT),
    Attack("E9_unix", _opens(socket.AF_UNIX), profiles=_SHUT),
    Attack("E9_udp", _opens(socket.AF_INET, socket.SOCK_DGRAM), profiles=_SHUT),
    Attack("E9_unix_datagram", _opens(socket.AF_UNIX, socket.SOCK_DGRAM)),
    Attack("E9_raw", _opens(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
    Attack("E9_ping", _opens(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)),
    Attack("E9_mptcp", _opens(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)),
    Attack("E9_packet", _opens(socket.AF_PACKET, socket.SOCK_RAW)),
    Attack("E9_netlink", _opens(socket.AF_NETLINK, socket.SOCK_RAW), profiles=_OURS),
    Attack("E9_vsock", _opens(socket.AF_VSOCK)),
    Attack("E9_alg", _opens(socket.AF_ALG, socket.SOCK_SEQPACKET)),
    Attack("E9_xdp", _opens(44, socket.SOCK_RAW)),
    Attack("E10_pidfd_getfd", _calls("pidfd_getfd", -1, 0, 0)),
    Attack("E10_ptrace", _calls("ptrace", 16, 0x7FFFFFFF, None, None)),  # PTRACE_ATTACH to nobody
    Attack("E10_process_vm", _peek),
    Attack("datagram_pair", _datagram_pair),
    Attack("source_route", _source_route, profiles=_OURS),
    Attack("bind_to_device", _device, profiles=_OURS),
    Attack("bind", _calls("bind", -1, None, 0), profiles=_OURS),
    Attack("unshare", _calls("unshare", 0)),
    Attack("setns", _calls("setns", -1, 0)),
    Attack("bpf", _calls("bpf", 0, None, 0)),
    Attack("perf_event_open", _calls("perf_event_open", None, 0, 0, -1, 0)),
    Attack("userfaultfd", _calls("userfaultfd", -1)),
    Attack("keyctl", _calls("keyctl", 0, -3, 0)),
    Attack("mount", _calls("mount", None, None, None, 0, None)),
    Attack("memfd_create", _calls("memfd_create", b"x\0", -1), profiles=_OURS),
    Attack("init_module", _calls("init_module", None, 0, b"\0")),
    Attack("clone_namespaces", _calls("clone", CLONE_NEWUSER_AND_FS, None, None, None, None)),
    Attack("dumpable_again", _calls("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0), profiles=_OURS),
    Attack("execve", _calls("execve", b"/nonexistent\0", None, None), profiles=_ALONE),
    Attack("execveat", _calls("execveat", -1, b"", None, None, 0), profiles=_OURS),
    Attack("fork", _fork, profiles=_ALONE),
    Attack("signal_parent", _signal_parent, profiles=_ALONE),
    Attack("read_files", _read, Part.LANDLOCK),
    Attack("write_code", _write, Part.LANDLOCK),
    Attack("make_files_tmp", _make("/tmp"), Part.LANDLOCK),  # noqa: S108 - to be refused
    Attack("make_files_var_tmp", _make("/var/tmp"), Part.LANDLOCK),  # noqa: S108 - likewise
    Attack("interfaces", _networks, Part.NETNS),
    Attack("tcp_connect", _connect, Part.LANDLOCK, profiles=(Profile.PROGRAM,)),
    Attack("udp", _opens(socket.AF_INET, socket.SOCK_DGRAM), profiles=(Profile.PROGRAM,)),
)
