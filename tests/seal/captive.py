"""A throw-away process for one experiment: `python -m tests.seal.captive EXPERIMENT [ARGUMENT …]`; JSON on stdout.

An experiment is irreversible for its process, so each has one of its own.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

from router.seal import attack, enclose, namespace, process
from router.seal.attestation import Attempt, Part
from router.seal.filter import Rules, assemble, install
from router.seal.machine import call, this_machine
from router.seal.profiles import MSG_FASTOPEN, STAGE_0, Profile, rules_of
from router.seal.rooms import room_of

EXPERIMENTS: dict[str, Callable[..., Any]] = {}


def experiment(function: Callable[..., Any]) -> Callable[..., Any]:
    EXPERIMENTS[function.__name__] = function
    return function


def error_of(action: Callable[[], object]) -> str:
    """The errno's name, or `done`."""
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno or 0) if error.errno is None else errno_name(error.errno)
    return "done"


def errno_name(code: int) -> str:
    return errno.errorcode[code]


def results(attempts: tuple[Attempt, ...]) -> dict[str, list[str]]:
    return {attempt.name: [attempt.result.value, attempt.error] for attempt in attempts}


@experiment
def unsealed(profile: str) -> dict[str, list[str]]:
    """All attacks, with nothing in their way."""
    with attack.prey(enclose.UNREADABLE, enclose.UNWRITABLE) as targets:
        return results(attack.attack_self(Profile(profile), tuple(Part), targets))


@experiment
def sealed(profile: str) -> dict[str, Any]:
    enclose.begin()
    attestation = enclose.enclose(enclose.Plan(Profile(profile), room_of(Profile(profile))))
    told: dict[str, Any] = json.loads(attestation.to_json())
    return told


@experiment
def reaim(sock: str, how: str) -> list[str]:
    """Bytes that arrive at the attacker's address, sent by a socket that was connected to somebody else."""
    with attack.prey("/", "/") as targets:
        assert targets is not None
        elsewhere = targets.elsewhere
        address = elsewhere.getsockname()
        if how == "sealed":
            install(assemble(rules_of(Profile.WORKER, os.getpid()), this_machine()))
        held: socket.socket = getattr(targets, sock)
        error = error_of(lambda: _send_elsewhere(held, address, fast=sock == "listener"))
        elsewhere.settimeout(0.3)
        try:
            arrived = elsewhere.accept()[0]
            arrived.settimeout(0.3)
            got = arrived.recv(16)
        except OSError:
            got = b""
        return [error, got.decode()]


def _send_elsewhere(held: socket.socket, address: tuple[str, int], *, fast: bool) -> None:
    if fast:
        held.shutdown(socket.SHUT_RDWR)
        held.settimeout(None)
        held.sendto(b"secret", MSG_FASTOPEN, address)
        return
    call("connect", held.fileno(), attack.AF_UNSPEC, 16)
    held.connect(address)
    held.send(b"secret")


@experiment
def log_datagram(path: str, how: str) -> str:
    """A message to a datagram socket such as /dev/log, by way of a pair that never was a socket(2)."""
    if how == "sealed":
        install(assemble(rules_of(Profile.WORKER, os.getpid()), this_machine()))
    return error_of(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"secret", path))


@experiment
def other_thread(every: str) -> str:
    """E8: a thread that ran before the filter came."""
    go, ready, seen = threading.Event(), threading.Event(), []

    def run() -> None:
        ready.set()
        go.wait()
        seen.append(error_of(socket.socket))

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    install(assemble(rules_of(Profile.WORKER, os.getpid()), this_machine()), every_thread=every == "every")
    go.set()
    thread.join()
    return seen[0]


@experiment
def ring_before(stage_0: str) -> str:
    """E6, E7: a ring from before the filter works past it: it must not be possible, or be found."""
    if stage_0 == "yes":
        enclose.begin()
    parameters = ctypes.create_string_buffer(120)
    made = error_of(lambda: call("io_uring_setup", 1, parameters))
    return f"{made}, {_refusal()}"


@experiment
def ring_escape(how: str) -> list[str]:
    """E5: a socket made by an io_uring operation (IORING_OP_SOCKET), with socket(2) denied or in the full seal."""
    narrow = Rules(deny=frozenset({"socket"}), default=None)
    full = rules_of(Profile.WORKER, os.getpid())
    install(assemble(full if how == "sealed" else narrow, this_machine()))
    return [error_of(socket.socket), error_of(_socket_by_ring)]


def _socket_by_ring() -> None:
    parameters = ctypes.create_string_buffer(120)
    ring = call("io_uring_setup", 1, parameters)
    sq_tail, sq_array = struct.unpack_from("<I", parameters.raw, 44)[0], struct.unpack_from("<I", parameters.raw, 64)[0]
    cq_cqes = struct.unpack_from("<I", parameters.raw, 100)[0]
    rings = mmap.mmap(ring, 4096, offset=0)
    entries = mmap.mmap(ring, 4096, offset=0x10000000)
    entries[:64] = struct.pack("<BBHiQQIIQ24x", 45, 0, 0, socket.AF_INET, socket.SOCK_STREAM, 0, 0, 0, 1)
    rings[sq_array : sq_array + 4] = struct.pack("<I", 0)
    rings[sq_tail : sq_tail + 4] = struct.pack("<I", 1)
    call("io_uring_enter", ring, 1, 1, 1, None, 0)
    _, result = struct.unpack_from("<Qi", rings, cq_cqes)
    if result < 0:
        raise OSError(-result, "io_uring")


@experiment
def foreign_call(convention: str, how: str) -> int:
    """getpid() by the numbers of 32-bit programs (int 0x80) or of x32, which mean something else to the filter."""
    if how == "sealed":
        install(assemble(rules_of(Profile.WORKER, os.getpid()), this_machine()))
    if convention == "x32":
        return int(ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39)))
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("53 b8 14 00 00 00 cd 80 5b c3"))  # push rbx; mov eax, 20; int 0x80; pop rbx; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    return int(function() == os.getpid())


@experiment
def holding(what: str) -> str:
    """What the check of descriptors says about one of them."""
    with socket.socket() as listener, socket.socket(socket.AF_UNIX) as named:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        named.bind("\0ringfence-test-" + str(os.getpid()))
        if what != "named":
            named.close()
        if what not in {"listener", "announced"}:
            listener.close()
        pair = socket.socketpair() if what == "pair" else ()
        refusal = _refusal((listener.fileno(),) if what == "announced" else ())
        return f"{refusal}{len(pair) or ''}"


@experiment
def threads() -> str:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        return _refusal()
    finally:
        stop.set()
        thread.join()


def _refusal(announced: tuple[int, ...] = ()) -> str:
    try:
        enclose.enclose(enclose.Plan(Profile.WORKER, room_of(Profile.WORKER), announced))
    except process.UnexpectedlyHeld as error:
        return str(error)
    return "sealed"


@experiment
def given_up(profile: str) -> dict[str, Any]:
    """What /proc says of a sealed process, and its limits."""
    enclose.enclose(enclose.Plan(Profile(profile), room_of(Profile(profile))))
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    return {
        **{name: int(status[name], 16) for name in wanted},
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    }


@experiment
def robbed(victim: str, pid: str) -> dict[str, str]:
    """E10: what a process of the same user can take from another one. The first argument is for the reader."""
    del victim
    number = int(pid)
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    handle = os.pidfd_open(number)
    return {
        "pidfd_getfd": error_of(lambda: call("pidfd_getfd", handle, 0, 0)),
        "memory": error_of(lambda: os.close(os.open(f"/proc/{number}/mem", os.O_RDONLY))),
        "process_vm_readv": error_of(lambda: call("process_vm_readv", number, vector, 1, vector, 1, 0)),
        "ptrace": error_of(lambda: call("ptrace", 0x4206, number, None, None)),  # PTRACE_SEIZE: does not stop it
    }


@experiment
def without(*names: str) -> dict[str, Any]:
    """Sealing where a container's own filter hides system calls."""
    install(assemble(Rules(deny=frozenset(names), default=None), this_machine()))
    return sealed("worker")  # type: ignore[no-any-return]  # JSON by then


@experiment
def hidden_from(name: str, *command: str) -> None:
    """Become `command`, with one system call hidden."""
    install(assemble(Rules(deny=frozenset({name}), default=None), this_machine()))
    os.execv(command[0], command)  # noqa: S606


@experiment
def network_by_user_namespace() -> list[Any]:
    refusal = namespace.by_user_namespace(os.geteuid(), os.getegid())
    return [refusal, list(namespace.interfaces()), os.geteuid(), os.getegid()]


@experiment
def strange_machine() -> dict[str, Any]:
    platform.machine = lambda: "riscv64"
    return sealed("worker")  # type: ignore[no-any-return]


@experiment
def stage_0_and_uvloop() -> str:
    """An event loop made after stage 0 goes on working when stage 1 has come."""
    import asyncio  # noqa: PLC0415 - for this experiment alone: the others are processes without a loop

    import uvloop  # noqa: PLC0415 - as above

    install(assemble(STAGE_0, this_machine()))

    async def main() -> str:
        sealed("worker")
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(lambda: "threads and timers work")

    return uvloop.run(main())


if __name__ == "__main__":
    print(json.dumps(EXPERIMENTS[sys.argv[1]](*sys.argv[2:])))
