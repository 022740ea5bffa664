"""Packets read, and who began a flow: by bytes made here and, in test_prove, by real ones."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prove.packets import IPV4, IPV6, Packet, Tally, Target, parse
from router.prove.report import Done, Report
from router.prove.witness import Seen

SYN, ACK, BOTH = 2, 16, 18


def tcp(source: tuple[str, int], target: tuple[str, int], flags: int, payload: int = 0) -> Packet | None:
    """As the kernel would show it."""
    segment = struct.pack("!HHIIBBHHH", source[1], target[1], 0, 0, 5 << 4, flags, 0, 0, 0)
    length = 20 + len(segment) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0)
    return parse(IPV4, head + ip_address(source[0]).packed + ip_address(target[0]).packed + segment, length)


US, THEM = ("10.0.0.1", 40000), ("198.51.100.7", 443)


def tally(*packets: Packet | None) -> dict[Target, int]:
    counted = Tally()
    for packet in packets:
        assert packet is not None
        counted.take(packet)
    return counted.bytes


def test_bytes_are_counted_towards_whoever_was_called() -> None:
    flow = (tcp(US, THEM, SYN), tcp(THEM, US, BOTH), tcp(US, THEM, ACK, 100), tcp(THEM, US, ACK, 9000))
    assert tally(*flow) == {Target("198.51.100.7", "tcp", 443): 100}


def test_a_flow_seen_from_its_middle_counts_for_whoever_spoke_first() -> None:
    assert tally(tcp(US, THEM, ACK, 7), tcp(THEM, US, ACK, 9)) == {Target("198.51.100.7", "tcp", 443): 7}


def test_a_port_that_is_used_again_the_other_way_is_a_flow_of_its_own() -> None:
    found = tally(tcp(US, THEM, SYN), tcp(THEM, US, SYN), tcp(THEM, US, ACK, 5))
    assert Target("10.0.0.1", "tcp", 40000) in found


def test_an_error_that_the_kernel_sends_is_no_call() -> None:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 1, 0) + bytes(8)
    assert tally(parse(IPV4, head + bytes([3, 3]), 28)) == {}
    assert len(tally(parse(IPV4, head + bytes([8, 0]), 28))) == 1  # a ping is one


@given(st.sampled_from([IPV4, IPV6]), st.binary(max_size=128), st.integers(0, 70_000))
def test_no_bytes_are_too_strange_to_be_seen(ethertype: int, head: bytes, length: int) -> None:
    assert parse(ethertype, head, length) is not None


LISTED = Target("10.1.2.3", "tcp", 8000)
OTHER = Target("198.51.100.7", "tcp", 443)
SELF = Target("127.0.0.1", "tcp", 40000)
GOOD = Done("chat", "200", good=True)


@pytest.mark.parametrize(
    ("seen", "asked", "step", "good"),
    [
        (Seen({LISTED: 9}, frozenset({LISTED}), 0), (), GOOD, True),
        (Seen({LISTED: 9}, None, 0), ("listed",), GOOD, True),
        (Seen({LISTED: 9, SELF: 0}, frozenset({LISTED, SELF}), 0), (), GOOD, True),
        (
            Seen({LISTED: 9, SELF: 1}, frozenset({LISTED, SELF}), 0),
            (),
            GOOD,
            False,
        ),  # a byte to an unlisted loopback port
        (Seen({LISTED: 9, OTHER: 0}, frozenset({LISTED, OTHER}), 0), (), GOOD, False),
        (Seen({LISTED: 9}, frozenset({LISTED, OTHER}), 0), (), GOOD, False),  # only the kernel saw it
        (Seen({LISTED: 9, OTHER: 1}, None, 0), (), GOOD, False),
        (Seen({LISTED: 9}, frozenset(), 0), (), GOOD, False),  # the witnesses disagree
        (Seen({LISTED: 9}, frozenset({LISTED}), 1), (), GOOD, False),  # a packet was not seen
        (Seen({}, frozenset(), 0), (), GOOD, False),  # a blind witness proves nothing
        (Seen({LISTED: 9}, frozenset({LISTED}), 0), ("evil",), GOOD, False),
        (Seen({LISTED: 9}, frozenset({LISTED}), 0), (), Done("chat", "502", good=False), False),
    ],
)
def test_what_is_a_proof(seen: Seen, asked: tuple[str, ...], step: Done, *, good: bool) -> None:
    report = Report((step,), seen, {LISTED: "upstream"}, frozenset({"listed"}), frozenset(asked))
    assert report.good is good
    assert report.document()["good"] is good
    assert ("NOT PROVED" in report.text()) is not good
