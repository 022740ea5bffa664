"""Proof by enumeration: what each filter says to every system call number, and to every value of what it looks at."""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from router.seal.filter import ALLOW, KILL, Instruction, Rules, Where, assemble
from router.seal.machine import AARCH64, MACHINES, X86_64, Machine
from router.seal.profiles import IO_URING, STAGE_0, Profile, rules_of
from router.seal.syscalls import NUMBERS
from tests.seal.bpf import run

PID = 4711
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
WORDS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1)
EVERY_NUMBER = (*range(1024), 0x3FFFFFFF)
HEADERS = {
    X86_64: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    AARCH64: Path("/usr/include/asm-generic/unistd.h"),
}

# No profile, on no machine, with no arguments whatsoever.
NEVER = {
    *IO_URING, "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "bpf", "unshare",
    "setns", "perf_event_open", "userfaultfd", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount",
    "fsconfig", "pivot_root", "chroot", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "execveat", "bind", "seccomp", "memfd_create", "mknod", "mknodat",
    "open_by_handle_at", "name_to_handle_at", "clone3", "openat2", "landlock_restrict_self", "setuid", "setresuid",
    "capset", "personality", "splice", "vmsplice", "tee", "sendfile", "shmget", "msgget", "mq_open", "io_submit",
    "kcmp", "rt_sigqueueinfo", "pidfd_send_signal", "process_mrelease", "reboot", "recvmmsg", "chown", "fchownat",
}  # fmt: skip
NEVER_BUT_GATE = {"socket", "connect", "sendmmsg"}
NEVER_BUT_SERVING = {"accept", "accept4", "listen"}
NEVER_BUT_ENGINE = {"execve", "fork", "vfork", "wait4", "tkill", "sched_setaffinity"}


def filters() -> list[tuple[Profile, bool, Machine]]:
    kinds = [(Profile.GATE, True), (Profile.WORKER, False), (Profile.WORKER, True), (Profile.ENGINE, True)]
    return [(profile, writes, machine) for profile, writes in kinds for machine in MACHINES.values()]


@pytest.fixture(params=filters(), ids=lambda it: f"{it[0]}{'' if it[1] else '-writeless'}-{it[2].name}")
def sealed(request: pytest.FixtureRequest) -> tuple[Profile, Machine, Rules, list[Instruction]]:
    profile, writes, machine = request.param
    rules = rules_of(profile, PID, writes=writes)
    return profile, machine, rules, assemble(rules, machine)


def test_every_number_gets_the_verdict_of_its_rule(sealed: tuple[Profile, Machine, Rules, list[Instruction]]) -> None:
    _, machine, rules, program = sealed
    names = {number: name for name, number in machine.numbers.items()}
    for number in EVERY_NUMBER:
        name = names.get(number, "")
        if name in rules.when:
            continue
        wanted = ALLOW if name in rules.allow else EPERM if name in rules.deny else ENOSYS
        for word in WORDS:
            assert run(program, machine.audit, number, (word,) * 6) == wanted, (number, name)


def test_a_foreign_architecture_is_killed(sealed: tuple[Profile, Machine, Rules, list[Instruction]]) -> None:
    _, machine, _, program = sealed
    i386, arm, x32_audit = 0x40000003, 0x40000028, 0xC000003E
    for audit in {i386, arm, x32_audit, 0, 0xFFFFFFFF, *(other.audit for other in MACHINES.values())} - {machine.audit}:
        for number in EVERY_NUMBER:
            assert run(program, audit, number) == KILL


def test_the_x32_convention_is_killed() -> None:
    for profile in Profile:
        program = assemble(rules_of(profile, PID), X86_64)
        for number in (*range(0x40000000, 0x40000400), 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            assert run(program, X86_64.audit, number) == KILL


def test_some_calls_are_never_allowed(sealed: tuple[Profile, Machine, Rules, list[Instruction]]) -> None:
    profile, machine, _, program = sealed
    never = NEVER | (NEVER_BUT_GATE if profile is not Profile.GATE else NEVER_BUT_SERVING)
    never |= NEVER_BUT_ENGINE if profile is not Profile.ENGINE else set()
    for name in never & machine.numbers.keys():
        for arguments in itertools.product(WORDS, repeat=3):
            verdict = run(program, machine.audit, machine.number(name), arguments)
            assert verdict in {EPERM, ENOSYS}, (name, arguments)


def test_a_program_does_what_programs_do_but_nothing_that_leads_out() -> None:
    """No closed list: what is refused is named, and everything else goes."""
    out = {
        "ptrace",
        "process_vm_readv",
        "pidfd_getfd",
        "setns",
        "unshare",
        "mount",
        "umount2",
        "chroot",
        "bpf",
        "keyctl",
    }
    for machine, datagrams in itertools.product(MACHINES.values(), (True, False)):
        rules = rules_of(Profile.PROGRAM, PID, datagrams=datagrams)
        program, names = assemble(rules, machine), {number: name for name, number in machine.numbers.items()}
        assert out <= rules.deny
        for number in EVERY_NUMBER:
            name = names.get(number, "")
            if name in rules.when:
                continue
            wanted = EPERM if name in rules.deny else ENOSYS if name in {*IO_URING, "clone3"} else ALLOW
            assert run(program, machine.audit, number) == wanted, name
        socket_number = machine.number("socket")
        for family, kind, protocol in itertools.product(range(48), (1, 2, 3, 5, 10), INTS):
            inet = family in (2, 10) and (kind, protocol) in {(1, 0), (1, 6), *([(2, 0), (2, 17)] if datagrams else [])}
            wanted_open = inet or (family == 1 and kind in (1, 5) and protocol == 0) or (family == 16 and protocol == 0)
            verdict = run(program, machine.audit, socket_number, (family, kind | 0o2000000, protocol))
            assert (verdict == ALLOW) == wanted_open, (family, kind, protocol)
        for flag in NEW:
            assert run(program, machine.audit, machine.number("clone"), (17 | flag,)) == EPERM
        for name, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
            arguments = [3, 0, 0, 0]
            arguments[at] = FAST_OPEN
            assert run(program, machine.audit, machine.number(name), tuple(arguments)) == EPERM


def test_stage_0_hides_io_uring_and_nothing_else() -> None:
    for machine in MACHINES.values():
        program = assemble(STAGE_0, machine)
        rings = {machine.number(name) for name in IO_URING}
        for number in EVERY_NUMBER:
            assert run(program, machine.audit, number) == (ENOSYS if number in rings else ALLOW)


# --- what looks at arguments: each against a sentence of its own ---

Says = Callable[[Profile, bool, Sequence[int]], bool]
INTS = (0, 1, 2, 6, 17, 41, 58, 132, 136, 255, 262, 0xFFFFFFFF)
FLAGS = (0, 0o4000, 0o2000000, 0o2004000, 0x100)
FAST_OPEN = 0x20000000
NEW = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]


def _socket(profile: Profile, _writes: bool, args: Sequence[int]) -> bool:
    family, kind, protocol = args[0] & 0xFFFFFFFF, args[1] & ~0o2004000, args[2]
    if profile is not Profile.GATE:
        return False
    if family == 1:
        return kind == 1 and protocol == 0
    return family in (2, 10) and (kind, protocol) in {(1, 0), (1, 6), (2, 0), (2, 17)}


def _send(flags: int) -> Says:
    return lambda profile, _writes, args: (
        not args[flags] & FAST_OPEN and (profile is Profile.GATE or flags == 2 or args[4] == 0)
    )


def _clone(profile: Profile, _writes: bool, args: Sequence[int]) -> bool:
    thread, new = args[0] & 0x10000, any(args[0] & flag for flag in NEW)
    return not new and (bool(thread) or profile is Profile.ENGINE)


def _own(profile: Profile, _writes: bool, args: Sequence[int]) -> bool:
    return profile is Profile.ENGINE or args[0] & 0xFFFFFFFF == PID


def _option(profile: Profile, _writes: bool, args: Sequence[int]) -> bool:
    safe = {1: {2, 3, 4, 7, 8, 9, 13, 15, 20, 21}, 6: {1, 2, 3, 4, 5, 6, 12, 18}}
    resolver = {0: {10, 11}, 41: {23, 25}} if profile is Profile.GATE else {}
    return args[2] in {**safe, **resolver}.get(args[1], set())


def _opening(flags: int) -> Says:
    return lambda _profile, writes, args: writes or not args[flags] & (0o1 | 0o2 | 0o100 | 0o1000 | 0o2000)


SAYS: dict[str, tuple[Says, Sequence[Sequence[int]]]] = {
    "socket": (_socket, (range(48), [k | f for k in (1, 2, 3, 5, 10) for f in FLAGS], INTS)),
    "socketpair": (lambda _p, _w, a: (a[0], a[1] & ~0o2004000, a[2]) == (1, 1, 0),
                   (range(48), [k | f for k in (1, 2, 3, 5) for f in FLAGS], INTS)),
    "sendto": (_send(3), ((3,), (0,), (5,), (0, 0x40, 0x4000, FAST_OPEN, FAST_OPEN | 0x4000), WORDS)),
    "sendmsg": (_send(2), ((3,), WORDS, (0, 0x40, 0x4000, FAST_OPEN, FAST_OPEN | 0x4000))),
    "clone": (_clone, ([a | b for a in (0, 17, 0x10000, 0x3D0F00, 0x4111) for b in (0, *NEW)],)),
    "kill": (_own, ((PID, 0, 1, PID + 1, 0xFFFFFFFF, -PID), (0, 9, 15))),
    "tgkill": (_own, ((PID, 0, 1, PID + 1, 0xFFFFFFFF), (PID, 1), (0, 9))),
    "setsockopt": (_option, ((3,), (0, 1, 2, 6, 17, 41, 132, 255, 262, 263, 270, 284), range(80))),
    "prlimit64": (lambda _p, _w, a: a[0] == 0, ((0, 1, PID, 0xFFFFFFFF),)),
    "fcntl": (lambda _p, _w, a: a[1] not in (8, 15), ((3,), range(1100))),
    "ioctl": (lambda _p, _w, a: a[1] in {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451},
              ((3,), [*range(0x5400, 0x5480), 0x8901, 0x8902, 0x8912, 0xAE80, 0, 0xFFFFFFFF])),
    "prctl": (lambda _p, _w, a: a[0] != 0x59616D61 and (a[0] != 4 or a[1] == 0), ((*range(80), 0x59616D61), WORDS)),
    "open": (_opening(1), ((0,), range(0o4000))),
    "openat": (_opening(2), ((0,), (0,), range(0o4000))),
}  # fmt: skip


@pytest.mark.parametrize("name", SAYS)
def test_arguments_decide(name: str) -> None:
    says, values = SAYS[name]
    for profile, writes, machine in filters():
        rules = rules_of(profile, PID, writes=writes)
        if name not in machine.numbers or name not in rules.when:
            continue  # decided by its number alone, as seen above
        program, number = assemble(rules, machine), machine.number(name)
        for arguments in itertools.product(*values):
            wanted = says(profile, writes, (*arguments, *(0,) * 6))
            verdict = run(program, machine.audit, number, arguments)
            assert (verdict == ALLOW) == wanted, (profile, machine.name, name, arguments)


def test_every_conditional_call_is_in_this_table() -> None:
    for profile, writes, _ in filters():
        assert rules_of(profile, PID, writes=writes).when.keys() <= SAYS.keys() | {"sendmmsg"}


def test_sendmmsg_of_the_gate_has_no_fast_open() -> None:
    for machine in MACHINES.values():
        program = assemble(rules_of(Profile.GATE, PID), machine)
        verdicts = [run(program, machine.audit, machine.number("sendmmsg"), (3, 0, 1, flag)) for flag in (0, FAST_OPEN)]
        assert verdicts == [ALLOW, EPERM]


# --- the tables and the assembler themselves ---


def kernel_numbers(text: str) -> Iterator[tuple[str, int]]:
    for name, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", text, re.MULTILINE):
        yield ("newfstatat" if name == "fstatat" else name), int(number)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_numbers_are_the_kernels(machine: Machine) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"no kernel headers here: {header} (Debian's linux-libc-dev)")
    known = dict(kernel_numbers(header.read_text()))
    assert len(known) > 250
    for name, number in machine.numbers.items():
        assert known.get(name, number) == number, name
    for name in NUMBERS.keys() - machine.numbers.keys():
        assert name not in known, f"{name} exists on {machine.name}"


def test_no_filter_is_near_the_kernels_limit() -> None:
    for profile, writes, machine in filters():
        assert len(assemble(rules_of(profile, PID, writes=writes), machine)) < 1000


def test_a_rule_too_long_for_a_jump_is_refused() -> None:
    conditions = tuple((Where(0, value),) for value in range(100))
    with pytest.raises(ValueError, match="too long for one jump"):
        assemble(Rules(when={"read": conditions}), X86_64)


def test_a_filter_too_long_for_the_kernel_is_refused() -> None:
    conditions = tuple((Where(0, value),) for value in range(80))
    with pytest.raises(ValueError, match="the kernel takes 4096"):
        assemble(Rules(when=dict.fromkeys(NUMBERS, conditions)), X86_64)
