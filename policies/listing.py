"""May an operator list this destination? What can be told before any name is resolved; the gate judges the answers."""

from __future__ import annotations

from ipaddress import ip_network

from policies.address import AddressKind, Block, kind_of, kind_of_block
from policies.decision import Decision, Reason
from policies.destination import address_of
from policies.names import shared_front_of
from policies.policy import Destination
from policies.weights import LIBRARIES, provider_barring


def decide_listing(destination: Destination) -> Decision:
    """Allowed, or refused with a sentence for the operator in `detail`."""
    provider = provider_barring(destination.host, weights_only=destination.weights_only)
    if provider is not None:
        return _refused(Reason.CLOUD_PROVIDER, f"it belongs to the cloud provider {provider.name}")
    pinned = _judge_pins(destination)
    if pinned is not None:
        return pinned
    address = address_of(destination)
    named = bool(shared_front_of(destination.host)) or destination.host in LIBRARIES
    public = kind_of(address) is AddressKind.PUBLIC if address is not None else named
    if public and not destination.third_party_host:
        why = "it is somebody else's computer: write 'third_party_host: true' beside it if prompts may go there"
        return _refused(Reason.PUBLIC_NOT_ACKNOWLEDGED, why)
    third_name = address is None and destination.third_party_host and not destination.pins
    if destination.scheme == "http" and (public or third_name):
        return _refused(Reason.PLAIN_HTTP_TO_PUBLIC, "prompts would cross the internet unencrypted: write https")
    return Decision(allowed=True, reason=Reason.ALLOWED)


def _judge_pins(destination: Destination) -> Decision | None:
    blocks = tuple(ip_network(pin) for pin in destination.pins)
    judged = (_judge_pin(destination, block) for block in blocks)
    wrong = next((decision for decision in judged if decision is not None), None)
    address = address_of(destination)
    if wrong is None and address is not None and blocks and not any(address in block for block in blocks):
        return _refused(Reason.ADDRESS_OUTSIDE_PIN, f"{address} lies outside its own pins")
    return wrong


def _judge_pin(destination: Destination, block: Block) -> Decision | None:
    kind = kind_of_block(block)
    if kind is None:
        return _refused(Reason.FORBIDDEN_ADDRESS, f"the pin {block} mixes kinds of addresses: write smaller blocks")
    if kind is AddressKind.FORBIDDEN:
        return _refused(Reason.FORBIDDEN_ADDRESS, f"no address in the pin {block} is ever dialled")
    if kind is not AddressKind.PUBLIC:
        return None
    if not destination.third_party_host:
        why = f"the pin {block} is public: write 'third_party_host: true' if prompts may go there"
        return _refused(Reason.PUBLIC_NOT_ACKNOWLEDGED, why)
    if destination.scheme == "http":
        return _refused(Reason.PLAIN_HTTP_TO_PUBLIC, f"the pin {block} is public: write https")
    return None


def _refused(reason: Reason, detail: str) -> Decision:
    return Decision(allowed=False, reason=reason, detail=detail)
