"""A seccomp machine of our own: it runs a filter on a system call and says the verdict (linux/filter.h, seccomp(2))."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from router.seal.filter import Instruction

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMPS = {0x15: int.__eq__, 0x25: int.__gt__, 0x35: int.__ge__}


def run(program: Sequence[Instruction], audit: int, number: int, arguments: Sequence[int] = ()) -> int:
    """The verdict; IndexError or AssertionError for a program that the kernel would not take."""
    words = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, audit, 0, *(word & (1 << 64) - 1 for word in words))
    accumulator, at = 0, 0
    while True:
        step = program[at]
        at += 1
        if step.code == LOAD:
            assert step.value % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, step.value)
        elif step.code == AND:
            accumulator &= step.value
        elif step.code == RETURN:
            return step.value
        else:
            assert 0 <= step.jump_true < 256
            assert 0 <= step.jump_false < 256
            at += step.jump_true if JUMPS[step.code](accumulator, step.value) else step.jump_false
