"""Lines, ratchet, sealing, layout: the vectors that docs/ledger-format.md prints, and what is refused."""

from __future__ import annotations

import hashlib
import hmac
import os
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.audit import envelope
from router.audit.format import layout, seal
from router.audit.format.ratchet import KEY_BYTES, Ratchet, context, expected_macs, step, wipe
from router.audit.format.record import FIRST_PREV, TAIL_BYTES, covered, finish, head, leaf_hash
from router.audit.format.segments import SegmentError, list_segments, open_segment, segment_lines
from router.audit.format.statement import epoch_statement

LOG = "000102030405060708090a0b0c0d0e0f"
KEY = bytes(range(32))
DOCS = Path(__file__).parents[2] / "docs" / "ledger-format.md"


def vector() -> tuple[bytes, bytes]:
    """The first record of a log: what the MAC covers, and the MAC."""
    message = covered(head(LOG, 1, 0, FIRST_PREV), 1795260000000000, 1000, "heartbeat", b'{"open":0}')
    return message, Ratchet(bytes(bytearray(KEY)), LOG, 1, 0).mac(message)


def test_the_ratchet_is_what_its_formula_says() -> None:
    """Written out again from the formula, by hand: two steps."""
    ratchet, key = Ratchet(bytes(bytearray(KEY)), LOG, 3, 7), KEY
    for index in (7, 8):
        info = b"ringfence/ledger/v1/ratchet" + bytes.fromhex(LOG) + (3).to_bytes(8, "big") + index.to_bytes(8, "big")
        both = hashlib.sha512(b"\0\0\0\1" + key + info).digest()
        assert step(key, context(LOG, 3), index) == (both[:32], both[32:])
        assert ratchet.mac(b"message") == hmac.new(both[32:], b"message", "sha256").digest()
        key = both[:32]


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=300), max_size=3))
def test_the_reviewers_macs_are_the_ratchets_and_hmac(key: bytes, messages: list[bytes]) -> None:
    bound, wanted, last = context(LOG, 1), [], key
    for index, message in enumerate(messages, 5):
        last, mac_key = step(last, bound, index)
        wanted.append(hmac.new(mac_key, message, "sha256").digest())
    assert expected_macs(key, bound, 5, messages) == (last, wanted)


def test_wiping_overwrites_in_place() -> None:
    secret = os.urandom(KEY_BYTES)
    wipe(secret)
    assert secret == bytes(KEY_BYTES)


def test_each_step_overwrites_the_keys_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch key, the derived pair and the old K: each place that held one holds it no more."""

    class Derived:
        """SHA-512, and where its digest lay."""

        def __init__(self, data: bytearray) -> None:
            self._data = bytes(data)

        def digest(self) -> bytes:
            made = hashlib.sha512(self._data).digest()
            places.append(id(made))
            return made

    class Kept(BytesIO):
        """What the digest was put in."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            kept.append(self)

    places: list[int] = []
    kept: list[Kept] = []
    monkeypatch.setattr("router.audit.format.ratchet._sha512", Derived)
    monkeypatch.setattr("router.audit.format.ratchet.BytesIO", Kept)
    key = os.urandom(KEY_BYTES)
    first = bytes(bytearray(key))
    ratchet = Ratchet(key, LOG, 1, 0)
    assert key == bytes(KEY_BYTES)
    assert first in ratchet._input
    ratchet.mac(b"")
    second, _ = step(first, context(LOG, 1), 0)
    derived = kept[0].getvalue()
    assert derived == bytes(2 * KEY_BYTES)
    assert [id(derived)] == places, "it is the digest itself that was overwritten, and no copy"
    assert first not in ratchet._input
    assert second in ratchet._input
    ratchet.destroy()
    assert second not in ratchet._input


def test_the_test_vectors_of_the_format_page() -> None:
    """docs/ledger-format.md prints these bytes; this test computes them."""
    page = DOCS.read_text()
    message, mac = vector()
    line = finish(message, mac)
    assert message.decode() in page
    assert line.decode() in page
    assert mac.hex() in page
    assert leaf_hash(line).hex() in page
    body = {"suite": seal.SUITE, "sealed": "AAAA", "reviewer": "0011223344556677", "boot": "b"}
    assert epoch_statement(LOG, 1, 0, "00" * 32, body).decode() in page
    assert line[:-TAIL_BYTES] == message


def test_a_reviewers_pair_goes_through_its_text() -> None:
    secret = seal.ReviewerSecret.generate()
    again = seal.parse_secret("# a remark\n\n" + secret.text() + "\n")
    public = seal.parse_public(secret.public.text())
    sealed = envelope.seal(public, b"key", b"info")
    assert again.open(sealed, b"info") == b"key"
    assert again.public.id == public.id


def test_sealing_is_bound_to_its_place_and_its_reader() -> None:
    secret, other = seal.ReviewerSecret.generate(), seal.ReviewerSecret.generate()
    sealed = envelope.seal(secret.public, b"key", seal.epoch_info(LOG, 1))
    for reader, info, text in [
        (secret, seal.epoch_info(LOG, 2), sealed),
        (other, seal.epoch_info(LOG, 1), sealed),
        (secret, seal.epoch_info(LOG, 1), sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (secret, seal.epoch_info(LOG, 1), b"short"),
    ]:
        with pytest.raises(seal.SealError, match="does not open it"):
            reader.open(text, info)


@pytest.mark.parametrize(
    "text", ["", "two\nlines", "ringfence-reviewer-public-1:!!", "ringfence-reviewer-public-1:AAAA"]
)
def test_what_is_no_reviewers_key_is_refused(text: str) -> None:
    with pytest.raises(seal.SealError):
        seal.parse_public(text)


@pytest.mark.parametrize(
    "origin", ["", "ringfence/audit/xyz", "ringfence/audit/" + "AB" * 16, "ringfence/audit/" + "zz" * 16]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError):
        layout.log_of(origin)


def test_only_segments_are_segments(tmp_path: Path) -> None:
    folder = tmp_path / layout.SEGMENTS
    folder.mkdir()
    for name in (layout.segment_name(300), layout.segment_name(0), "notes.txt", "١" * 20 + ".jsonl", "1.jsonl"):
        (folder / name).write_text("")
    assert [first for first, _ in list_segments(tmp_path)] == [0, 300]


def test_a_link_or_a_pipe_in_a_segments_place_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"x\n")
    (tmp_path / "soft").symlink_to(real)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="symbolic links"):
        open_segment(tmp_path / "soft")
    with pytest.raises(SegmentError, match="pipe is not an ordinary file"):
        open_segment(tmp_path / "pipe")
    os.link(real, tmp_path / "hard")
    with pytest.raises(SegmentError, match="with one name"):
        open_segment(real)


def test_lines_are_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"one\ntwo\nrest")
    assert list(segment_lines(path)) == [b"one\n", b"two\n", b"rest"]
    path.write_bytes(b"one\n" + b"x" * (3 * 1024 * 1024))
    with pytest.raises(SegmentError, match="longer than 65535"):
        list(segment_lines(path))
