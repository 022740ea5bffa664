"""May the gate dial these addresses for this destination? Default deny: the only allow is the last line."""

from __future__ import annotations

from collections.abc import Sequence

from policies.address import AddressKind, in_block, kind_of
from policies.decision import Decision, Reason
from policies.destination import address_of
from policies.names import is_metadata_name
from policies.policy import Address, Destination
from policies.weights import provider_barring


def decide_egress(destination: Destination, addresses: Sequence[Address]) -> Decision:
    """Judge every answer that the resolver gave (the literal itself when there was none to ask); one bad refuses all.

    With pins each address must lie in one of them. Without, a literal stands for itself alone, a name must have
    private answers only, and a `third_party_host` public answers only.
    """
    if not addresses:
        return _refused(Reason.HOST_UNRESOLVED, destination, "has no address")
    if is_metadata_name(destination.host):
        return _refused(Reason.METADATA_ADDRESS, destination, "is a metadata service")
    provider = provider_barring(destination.host, weights_only=destination.weights_only)
    if provider is not None:
        return _refused(Reason.CLOUD_PROVIDER, destination, f"belongs to {provider.name}")
    literal = address_of(destination)
    for address in addresses:
        reason = _wrong_kind(destination, address) or _wrong_place(destination, address, literal)
        if reason is not None:
            return _refused(reason, destination, f"resolves to {address}")
    return Decision(allowed=True, reason=Reason.ALLOWED, detail=destination.host)


def _wrong_kind(destination: Destination, address: Address) -> Reason | None:
    """What is wrong with an address whatever the pins say."""
    kind = kind_of(address)
    if kind is AddressKind.METADATA:
        return Reason.METADATA_ADDRESS
    if kind is AddressKind.FORBIDDEN:
        return Reason.FORBIDDEN_ADDRESS
    if kind is not AddressKind.PUBLIC:
        return None
    if not destination.third_party_host:
        return Reason.PUBLIC_NOT_ACKNOWLEDGED
    return None if destination.scheme == "https" else Reason.PLAIN_HTTP_TO_PUBLIC


def _wrong_place(destination: Destination, address: Address, literal: Address | None) -> Reason | None:
    """A literal is itself; pins hold; a bare name is private if ours, public if a third party's, never this machine."""
    if literal is not None and address != literal:
        return Reason.ADDRESS_OUTSIDE_PIN
    if destination.pins:
        pinned = any(in_block(address, pin) for pin in destination.pins)
        return None if pinned else Reason.ADDRESS_OUTSIDE_PIN
    if literal is not None:
        return None
    expected = AddressKind.PUBLIC if destination.third_party_host else AddressKind.PRIVATE
    return None if kind_of(address) is expected else Reason.FORBIDDEN_ADDRESS


def _refused(reason: Reason, destination: Destination, why: str) -> Decision:
    return Decision(allowed=False, reason=reason, detail=f"{destination.host} {why}")
