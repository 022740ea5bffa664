"""The allow-list as packets see it: blocks of addresses and ports, and the names that DNS must be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from policies import AddressKind, Destination, Policy
from policies.address import blocks_of
from policies.destination import address_of

Block = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Opening:
    """One upstream's way out. `wide`: the list names no addresses, so whole kinds of addresses stand for them."""

    upstream: str
    port: int
    blocks: tuple[Block, ...]
    name: str = ""  # to be asked of DNS; "": never
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Fence:
    """All openings, and what the outside needs to know besides."""

    digest: str
    openings: tuple[Opening, ...]
    listen_host: str
    listen_port: int

    @property
    def names(self) -> tuple[str, ...]:
        """What DNS is asked for."""
        return tuple(sorted({opening.name for opening in self.openings if opening.name}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know before trusting the result."""
        return tuple(
            f"{one.upstream}: '{one.name}' has no addresses in the policy, so every {_kind(one)} address is open on "
            f"port {one.port}: pin it with 'addresses' or list it under 'hosts'"
            for one in self.openings
            if one.wide
        )

    def ports(self) -> dict[int, tuple[Block, ...]]:
        """Port -> the blocks that are open on it, none inside another."""
        by_port: dict[int, list[Block]] = {}
        for opening in self.openings:
            by_port.setdefault(opening.port, []).extend(opening.blocks)
        return {port: collapsed(by_port[port]) for port in sorted(by_port)}


def fence_of(policy: Policy, listen_host: str, listen_port: int) -> Fence:
    """Embedded engines need no opening: they are UNIX sockets."""
    openings = tuple(
        _opening(rule.name, rule.destination) for rule in policy.upstreams.values() if rule.destination is not None
    )
    return Fence(policy.digest, openings, listen_host, listen_port)


def collapsed(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """IPv4 first, then IPv6; sorted, none inside another."""
    every = tuple(blocks)
    four = collapse_addresses(block for block in every if isinstance(block, IPv4Network))
    six = collapse_addresses(block for block in every if isinstance(block, IPv6Network))
    return (*four, *six)


def _opening(upstream: str, destination: Destination) -> Opening:
    literal = address_of(destination)
    if literal is not None or destination.addresses:
        texts = destination.addresses or (str(literal),)
        return Opening(upstream, destination.port, tuple(ip_network(text) for text in texts))
    if destination.pins:
        blocks = tuple(ip_network(pin) for pin in destination.pins)
        return Opening(upstream, destination.port, blocks, destination.host)
    kind = AddressKind.PUBLIC if destination.third_party_host else AddressKind.PRIVATE
    blocks = tuple(ip_network(text) for text in blocks_of(kind))
    return Opening(upstream, destination.port, blocks, destination.host, wide=True)


def _kind(opening: Opening) -> str:
    return "private" if opening.blocks[0].is_private else "public"
