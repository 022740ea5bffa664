"""What addresses are, by our own table; the standard library's words for them are no filter."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import AddressKind, kind_of, reach_of
from policies.address import blocks_of, in_block, kind_of_block
from policies.facts import Reach
from policies.policy import Address

KINDS = {
    AddressKind.LOOPBACK: ["127.0.0.1", "127.255.255.255", "::1"],
    AddressKind.PRIVATE: [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "fc00::1",
        "fdff:ffff::1",
    ],
    AddressKind.PUBLIC: [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "100.63.255.255",
        "100.128.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "3ffe::1",
    ],
    AddressKind.METADATA: [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
    AddressKind.FORBIDDEN: [
        "0.0.0.0",
        "0.255.255.255",
        "169.254.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::2",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "fe80::1%eth0",
        "::1%eth0",
        "fd00:ec2::254%eth0",
    ],
}


@pytest.mark.parametrize(("text", "kind"), [(text, kind) for kind, texts in KINDS.items() for text in texts])
def test_kind(text: str, kind: AddressKind) -> None:
    assert kind_of(ip_address(text)) is kind


MENDED = {"2002:7f00:1::", "192.0.0.192"}  # by later versions of Python


@pytest.mark.parametrize(
    "text", ["::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "192.0.0.192", "168.63.129.16", "224.0.0.1"]
)
def test_what_the_standard_library_calls_global_is_not_dialled_here(text: str) -> None:
    """A witness: with `is_global` as the filter, these would pass."""
    assert ip_address(text).is_global or text in MENDED
    assert reach_of(ip_address(text)) is None


def test_reach_of_each_kind() -> None:
    assert [reach_of(ip_address(text)) for text in ("127.0.0.1", "10.0.0.1", "1.1.1.1", "224.0.0.1")] == [
        Reach.HOST,
        Reach.NETWORK,
        Reach.RENTED,
        None,
    ]


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ("10.1.2.0/24", AddressKind.PRIVATE),
        ("10.0.0.0/7", None),
        ("0.0.0.0/0", None),
        ("::/0", None),
        ("127.0.0.1/32", AddressKind.LOOPBACK),
        ("11.0.0.0/8", AddressKind.PUBLIC),
        ("224.0.0.0/8", AddressKind.FORBIDDEN),
        ("fc00::/7", AddressKind.PRIVATE),
        ("2a00::/16", AddressKind.PUBLIC),
        ("2000::/3", None),
        ("::/96", None),
        ("fe80::/10", AddressKind.FORBIDDEN),
    ],
)
def test_a_block_is_of_one_kind_or_none(block: str, kind: AddressKind | None) -> None:
    assert kind_of_block(ip_network(block)) is kind


@given(st.ip_addresses(), st.integers(0, 32))
def test_every_address_of_a_block_has_the_blocks_kind(address: object, length: int) -> None:
    block: IPv4Network | IPv6Network = ip_network(f"{address}/{length}", strict=False)
    kind = kind_of_block(block)
    if kind is None:
        return
    for one in (block.network_address, block.broadcast_address, ip_address(str(address))):
        assert kind_of(one) in (kind, AddressKind.METADATA)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_a_block_holds_what_the_standard_library_says_it_holds(one: Address, other: Address, length: int) -> None:
    block = ip_network(f"{other}/{min(length, other.max_prefixlen)}", strict=False)
    assert in_block(one, str(block)) == (one in block)
    assert in_block(other, str(block))
    assert in_block(block.broadcast_address, str(block))


@pytest.mark.parametrize("kind", AddressKind)
def test_the_blocks_of_a_kind_are_of_that_kind_at_both_ends(kind: AddressKind) -> None:
    """But the public ones, whose two last resorts hold every exception, and metadata services, which are no blocks."""
    blocks = blocks_of(kind)
    assert bool(blocks) is (kind is not AddressKind.METADATA)
    for block in map(ip_network, blocks):
        if block.num_addresses < 1 << 125 and block.prefixlen:
            assert {kind_of(block[0]), kind_of(block[-1])} <= {kind, AddressKind.METADATA}, block
    assert len(set(blocks)) == len(blocks)
