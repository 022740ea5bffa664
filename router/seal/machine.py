"""The machine below: its architecture as seccomp names it, and system calls that Python has no words for."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from router.seal.syscalls import NUMBERS

X32_BIT: Final = 0x40000000  # a third calling convention of x86-64, with numbers of its own

PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4


class UnknownMachine(Exception):
    """There is no table of system calls for this architecture, so nothing can be sealed; the message names it."""


class Machine(NamedTuple):
    """One architecture: its name, its AUDIT_ARCH_* word, and its column in the table of system calls."""

    name: str
    audit: int
    column: int
    x32: bool = False

    def number(self, name: str) -> int:
        """The system call's number, or -1 where this machine has no such call."""
        return NUMBERS[name][self.column]

    @property
    def numbers(self) -> Mapping[str, int]:
        """Every call that this machine has."""
        return {name: row[self.column] for name, row in NUMBERS.items() if row[self.column] >= 0}


X86_64: Final = Machine("x86_64", 0xC000003E, 0, x32=True)
AARCH64: Final = Machine("aarch64", 0xC00000B7, 1)
MACHINES: Final = {machine.name: machine for machine in (X86_64, AARCH64)}


def this_machine() -> Machine:
    """The machine of this process; UnknownMachine when it is not one that we have a table for."""
    name = platform.machine()
    machine = MACHINES.get(name)
    if machine is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise UnknownMachine(f"no seal for {name}: only 64-bit {' and '.join(MACHINES)} are known")
    return machine


def call(name: str, *arguments: int | ctypes.Array[ctypes.c_char] | bytes | None) -> int:
    """Make a system call by name; its result. OSError as the kernel said it, ENOSYS where there is none."""
    number = this_machine().number(name)
    result: int = _libc().syscall(ctypes.c_long(number), *(_word(argument) for argument in arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def prctl(option: int, value: int) -> int:
    """By the C library, which has it on every architecture; OSError as the kernel said it."""
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    result: int = _libc().prctl(ctypes.c_int(option), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl")
    return result


@cache
def _libc() -> ctypes.CDLL:
    """The C library of this process: a seal takes two hundred calls, and each new handle makes its functions anew."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _word(argument: int | ctypes.Array[ctypes.c_char] | bytes | None) -> object:
    """Variadic functions take no hint: an int must be passed as a whole register."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
