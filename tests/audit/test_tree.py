"""The tree against RFC 6962's published vectors, a naive definition, and its own proofs."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit.format import layout
from router.audit.format.proofs import (
    ProofError,
    check_consistency,
    consistency,
    inclusion,
    root_from_inclusion,
    split_point,
)
from router.audit.format.record import leaf_hash
from router.audit.format.tiles import HashReader, TileError, TileStack, peaks_of, write_tile
from router.audit.format.tree import complete_root, empty_root, fold, node_hash

# The test data of certificate-transparency's reference implementation: eight leaves and the root at each size.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in "- 00 10 2021 3031 40414243 5051525354555657 606162636465666768696a6b6c6d6e6f".replace("-", "").split(
        " "
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else empty_root()
    middle = split_point(len(leaves))
    return node_hash(naive_root(leaves[:middle]), naive_root(leaves[middle:]))


def some_leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


def stack_of(leaves: list[bytes]) -> TileStack:
    """In pieces of many sizes."""
    stack, at, width = TileStack(), 0, 1
    while at < len(leaves):
        stack.extend(leaves[at : at + width])
        at, width = at + width, width * 3 % 1009
    return stack


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert stack_of([leaf_hash(leaf) for leaf in CT_LEAVES[:size]]).root().hex() == CT_ROOTS[size]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65535, 65536, 65537, 66000])
def test_the_stack_agrees_with_the_definition(size: int) -> None:
    leaves = some_leaves(size)
    stack = stack_of(leaves)
    assert stack.root() == naive_root(leaves)
    assert len(stack.full) == size // 256 + size // 65536


@given(st.integers(1, 300), st.data())
def test_inclusion_proofs_prove_their_leaf_and_no_other(size: int, data: st.DataObject) -> None:
    leaves = some_leaves(size)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion(index, size, lambda low, high: naive_root(leaves[low:high]))
    root = naive_root(leaves)
    assert root_from_inclusion(index, size, leaves[index], path) == root
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        with contextlib.suppress(ProofError):  # another index may need a path of another length
            assert root_from_inclusion(other, size, leaves[index], path) != root


@given(st.integers(1, 200), st.integers(1, 200))
def test_consistency_proofs_bind_the_smaller_tree(one: int, two: int) -> None:
    old, new = sorted((one, two))
    leaves = some_leaves(new)
    roots = naive_root(leaves[:old]), naive_root(leaves)
    path = consistency(old, new, lambda low, high: naive_root(leaves[low:high]))
    check_consistency(old, new, roots, path)
    forged = leaves[:]
    forged[old - 1] = bytes(32)
    with pytest.raises(ProofError):
        check_consistency(old, new, (roots[0], naive_root(forged)), path)


@pytest.mark.parametrize(
    ("index", "size", "length", "sentence"),
    [
        (5, 5, 3, "there is no record 5"),
        (-1, 5, 3, "there is no record -1"),
        (0, 5, 4, "too long"),
        (0, 5, 2, "too short"),
        (0, 1, 1, "too long"),
    ],
)
def test_a_path_of_the_wrong_length_is_refused(index: int, size: int, length: int, sentence: str) -> None:
    with pytest.raises(ProofError, match=sentence):
        root_from_inclusion(index, size, bytes(32), [bytes(32)] * length)


@pytest.mark.parametrize(
    ("old", "new", "length", "sentence"),
    [
        (0, 5, 2, "smaller to a larger"),
        (6, 5, 2, "smaller to a larger"),
        (3, 5, 0, "smaller to a larger"),
        (5, 5, 1, "different roots"),
        (3, 5, 9, "too long"),
        (3, 50, 2, "too short"),
        (3, 5, 4, "does not begin with"),
    ],
)
def test_a_consistency_proof_of_the_wrong_shape_is_refused(old: int, new: int, length: int, sentence: str) -> None:
    with pytest.raises(ProofError, match=sentence):
        check_consistency(old, new, (bytes(32), bytes(32)), [bytes(32)] * length)


def test_equal_trees_need_no_proof() -> None:
    check_consistency(7, 7, (bytes(32), bytes(32)), [])


@pytest.mark.parametrize("size", [1, 256, 300, 66_100])
def test_tiles_on_the_disk_give_the_tree_back(tmp_path: Path, size: int) -> None:
    leaves = some_leaves(size)
    stack = stack_of(leaves)
    for level, number, hashes in stack.full:
        write_tile(tmp_path, layout.tile_path(level, number), hashes)
    rest = size % 256
    write_tile(tmp_path, layout.tile_path(0, size // 256, rest or 256), b"".join(leaves[size - rest :]) or bytes(32))
    (tmp_path / layout.tile_path(0, size // 256, rest or 256).with_name("note.txt")).write_text("not a tile")
    (tmp_path / layout.SEGMENTS).mkdir()
    reader = HashReader(tmp_path)
    again = reader.stack(size)
    assert again.root() == stack.root() == naive_root(leaves)
    for low, high in [(0, size), (size // 2, size), (0, min(size, 512))]:
        if low % 256 == 0:
            assert reader.root_of(low, high) == naive_root(leaves[low:high])
    for leaf in some_leaves(600):
        again.extend([leaf])
        stack.extend([leaf])
    assert again.root() == stack.root()


def test_a_hash_that_is_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / layout.SEGMENTS).mkdir()
    with pytest.raises(TileError, match="records 512 … 600 are in no tile and no segment"):
        HashReader(tmp_path).leaves(512, 601)


def test_upper_tiles_are_made_again_when_they_are_lost(tmp_path: Path) -> None:
    leaves = some_leaves(65536 + 256)
    stack = stack_of(leaves)
    for level, number, hashes in stack.full:
        if level == 0:
            write_tile(tmp_path, layout.tile_path(level, number), hashes)
    (tmp_path / layout.SEGMENTS).mkdir()
    assert HashReader(tmp_path).stack(len(leaves)).root() == stack.root()


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (2, 67, 256, "tile/2/067"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (1, 1000, 5, "tile/1/x001/000.p/5"),
    ],
)
def test_tile_paths_are_those_of_tlog_tiles(level: int, number: int, width: int, path: str) -> None:
    assert str(layout.tile_path(level, number, width)) == path


def test_folding_nothing_and_peaks() -> None:
    assert fold([]) == empty_root()
    leaves = some_leaves(7)
    assert peaks_of(leaves) == [complete_root(leaves[:4]), complete_root(leaves[4:6]), leaves[6]]
