"""Memory that is given out while a picture is decoded holds nothing of what was there before."""

from __future__ import annotations

import ctypes

import pytest

from local_engine.native.heap import BYTE, Heap

LETTER = ord("s")


def second_hand(size: int) -> bytes:
    """A block of this size, as malloc gives it right after somebody else's was freed there."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.malloc.argtypes = [ctypes.c_size_t]
    first, fence = libc.malloc(size), libc.malloc(64)
    ctypes.memset(first, LETTER, size)
    libc.free(first)
    block = libc.malloc(size)
    found = ctypes.string_at(block, size)
    libc.free(block)
    libc.free(fence)
    return found


@pytest.mark.parametrize("size", [1100, 2304, 65_536])
def test_what_was_there_is_overwritten_and_only_while_it_is_wished(size: int) -> None:
    heap = Heap()
    if not heap.overwrites:
        pytest.skip("THE C LIBRARY IS NOT GNU'S: JPEGs are refused there")
    assert LETTER in second_hand(size), "malloc gave another block: this test shows nothing"
    with heap.overwritten():
        assert set(second_hand(size)) == {BYTE ^ 0xFF}
    assert LETTER in second_hand(size)
