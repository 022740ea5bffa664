"""A small assembler for seccomp filters: rules about system calls in, classic BPF out, and its installation.

A filter is a closed list: what no rule allows is refused. See seccomp(2) and linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from router.seal.machine import PR_SET_NO_NEW_PRIVS, X32_BIT, Machine, call, prctl

KILL: Final = 0x80000000  # SECCOMP_RET_KILL_PROCESS
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000  # + the error number

LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
GREATER: Final = 0x25
AT_LEAST: Final = 0x35
RETURN: Final = 0x06

SET_MODE_FILTER: Final = 1
TSYNC: Final = 1  # every thread of the process, or none
MOST_INSTRUCTIONS: Final = 4096
FARTHEST: Final = 255  # a jump's reach


class Instruction(NamedTuple):
    code: int
    jump_true: int
    jump_false: int
    value: int


class Where(NamedTuple):
    """`argument & mask == value`, or not equal when `unless`. Both are 32 bits wide; `high` reads the upper half."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF
    unless: bool = False
    high: bool = False


Condition = tuple[Where, ...]  # all must hold


class Rules(NamedTuple):
    """`allow`: always. `when`: if one of its conditions holds, otherwise EPERM. `deny`: never, with EPERM.

    `unknown`: never, as if the kernel had no such call. Every other call gets `default`: an error number, or None to
    let it through.
    """

    allow: frozenset[str] = frozenset()
    when: Mapping[str, tuple[Condition, ...]] = MappingProxyType({})
    deny: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()  # as if the kernel did not have it: ENOSYS
    default: int | None = errno.ENOSYS


def assemble(rules: Rules, machine: Machine) -> list[Instruction]:
    """The program that decides by `rules` on `machine`. A foreign architecture or calling convention is killed."""
    numbers = machine.numbers
    program = _prologue(machine)
    for name in sorted(rules.when):
        if name in numbers:
            program += _conditional(numbers[name], rules.when[name])
    program += _ranges([numbers[name] for name in rules.allow if name in numbers], ALLOW)
    program += _ranges([numbers[name] for name in rules.deny if name in numbers], ERRNO | errno.EPERM)
    program += _ranges([numbers[name] for name in rules.unknown if name in numbers], ERRNO | errno.ENOSYS)
    program.append(_give(ALLOW if rules.default is None else ERRNO | rules.default))
    if len(program) > MOST_INSTRUCTIONS:
        raise ValueError(f"a filter of {len(program)} instructions; the kernel takes {MOST_INSTRUCTIONS}")
    return program


def _prologue(machine: Machine) -> list[Instruction]:
    """In seccomp_data nr is at 0, arch at 4, args from 16. Numbers mean nothing before arch is known."""
    program = [
        Instruction(LOAD, 0, 0, 4),
        Instruction(EQUAL, 1, 0, machine.audit),
        _give(KILL),
        Instruction(LOAD, 0, 0, 0),
    ]
    if machine.x32:
        program += [Instruction(AT_LEAST, 0, 1, X32_BIT), _give(KILL)]
    return program


def _ranges(numbers: Sequence[int], verdict: int) -> list[Instruction]:
    """Neighbouring numbers share one comparison."""
    program: list[Instruction] = []
    for low, high in _runs(sorted(numbers)):
        if low == high:
            program += [Instruction(EQUAL, 0, 1, low), _give(verdict)]
        else:
            program += [Instruction(AT_LEAST, 0, 2, low), Instruction(GREATER, 1, 0, high), _give(verdict)]
    return program


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _conditional(number: int, conditions: Sequence[Condition]) -> list[Instruction]:
    """Allow when one condition holds, else EPERM. The number is left behind, so every way through must return."""
    body = [instruction for condition in conditions for instruction in _alternative(condition)]
    body.append(_give(ERRNO | errno.EPERM))
    if len(body) > FARTHEST:
        raise ValueError(f"the rule for system call {number} is too long for one jump")
    return [Instruction(EQUAL, 0, len(body), number), *body]


def _alternative(condition: Condition) -> list[Instruction]:
    """Falls through to the next alternative as soon as one test fails."""
    pieces = [_test(test) for test in condition]
    length = sum(map(len, pieces)) + 1
    program: list[Instruction] = []
    for test, piece in zip(condition, pieces, strict=True):
        away = length - len(program) - len(piece)
        jump = Instruction(EQUAL, away, 0, test.value) if test.unless else Instruction(EQUAL, 0, away, test.value)
        program += [*piece[:-1], jump]
    return [*program, _give(ALLOW)]


def _test(test: Where) -> list[Instruction]:
    """The last instruction is a place for the jump."""
    load = Instruction(LOAD, 0, 0, 16 + 8 * test.argument + (4 if test.high else 0))
    mask = [] if test.mask == 0xFFFFFFFF else [Instruction(AND, 0, 0, test.mask)]
    return [load, *mask, _give(0)]


def _give(verdict: int) -> Instruction:
    return Instruction(RETURN, 0, 0, verdict)


def install(program: Sequence[Instruction], *, every_thread: bool = True) -> None:
    """Put the filter in force, for good. OSError when the kernel refuses; nothing has changed then but that the
    process can gain no privileges any more, which is what lets an ordinary user install a filter.
    """
    code = b"".join(struct.pack("=HBBI", i.code, i.jump_true, i.jump_false, i.value) for i in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    stuck = call("seccomp", SET_MODE_FILTER, TSYNC if every_thread else 0, ctypes.create_string_buffer(header))
    if stuck:
        raise OSError(errno.ESRCH, f"thread {stuck} could not be given the filter", "seccomp")
