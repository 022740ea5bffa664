r"""The one grammar for destinations: canonical form or nothing, so that no two parsers can disagree about a host.

url    = ("http" / "https") "://" host ":" port path
host   = lower-case letter-digit-hyphen labels / canonical dotted quad / "[" canonical IPv6 "]"
port   = 1 to 65535, always written, no leading zero
path   = *("/" 1*(letter / digit / "." / "_" / "~" / "-")), no "." or ".." segment, no slash at the end
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final

from policies.address import REACH_OF_KIND, AddressKind, kind_of, kind_of_block, reach_of
from policies.decision import Reason
from policies.disguise import host_meant, port_written, what_is_wrong
from policies.facts import Reach
from policies.names import is_local_name, is_metadata_name
from policies.policy import Address, Destination
from policies.weights import provider_barring

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:]+\]|[a-z0-9.-]+):(?P<port>[1-9][0-9]{0,4})"
    r"(?P<path>(?:/[A-Za-z0-9._~-]+)*)"
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DOTTED_QUAD: Final = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label: some parsers read the whole name as an address
LONGEST_HOST: Final = 253  # RFC 1035
LONGEST_URL: Final = 2048


class DestinationError(ValueError):
    """Not a destination: why, from the closed list, in a sentence; `instead`: what to write, where that is known."""

    def __init__(self, reason: Reason, message: str, instead: str = "") -> None:
        super().__init__(f"{message}: write {instead}" if instead else message)
        self.reason = reason
        self.message = message
        self.instead = instead


def parse_destination(url: str, *, weights_only: bool = False) -> Destination:
    """The destination that this text is the canonical form of: `parse_destination(url).url == url`.

    DestinationError for anything else, for a metadata service and for a catalogued cloud provider. `weights_only`: only
    model weights are fetched from there, so a public library of them may stand in the catalogue.
    """
    if len(url) > LONGEST_URL:
        raise DestinationError(Reason.NOT_CANONICAL, f"it is longer than {LONGEST_URL} characters")
    found = _URL.fullmatch(url)
    if found is None:
        _check_provider(
            host_meant(url), weights_only=weights_only
        )  # first: how to write a cloud's address right is nothing to be told
        raise DestinationError(Reason.NOT_CANONICAL, what_is_wrong(url), port_written(url))
    host, path = found["host"], found["path"]
    port = int(found["port"])
    if port > 65535:
        raise DestinationError(Reason.NOT_CANONICAL, f"port {port} does not exist: write one from 1 to 65535")
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise DestinationError(Reason.NOT_CANONICAL, "the path holds '.' or '..': write the path that is meant")
    address = literal_of(host.strip("[]")) if host.startswith("[") or _DOTTED_QUAD.fullmatch(host) else None
    if address is not None:
        _check_address(address)
        return Destination(found["scheme"], str(address), port, path, weights_only=weights_only)
    check_name(host, weights_only=weights_only)
    return Destination(found["scheme"], host, port, path, weights_only=weights_only)


def literal_of(host: str) -> Address:
    """The address that a literal (IPv6 without brackets) is the canonical form of; DestinationError otherwise."""
    try:
        address: Address = IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError as error:
        raise DestinationError(Reason.NOT_CANONICAL, f"'{host}' is not an IP address: {error}") from None
    if (canonical := _canonical(address)) != host:
        message = f"'{host}' is not the canonical form of the address: write '{canonical}'"
        raise DestinationError(Reason.NOT_CANONICAL, message)
    return address


def _canonical(address: Address) -> str:
    """On every Python alike: from 3.13 on an IPv4 address mapped into IPv6 is written ::ffff:1.2.3.4 by `str`."""
    if isinstance(address, IPv4Address) or address.ipv4_mapped is None:
        return str(address)
    number, scope = int(address.ipv4_mapped), f"%{address.scope_id}" if address.scope_id else ""
    return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}{scope}"


def address_of(destination: Destination) -> Address | None:
    """The address that the destination is written with; None when it is a name."""
    if ":" in destination.host or _DOTTED_QUAD.fullmatch(destination.host):
        return literal_of(destination.host)
    return None


def classify_reach(subject: Destination | Address) -> Reach | None:
    """How far a prompt travels to it, by what it is; None for an address that is never dialled.

    A third party's is `rented` wherever it lies. A name without pins may only have private answers, so it is `network`;
    pins say where it is: the farthest of them counts.
    """
    if not isinstance(subject, Destination):
        return reach_of(subject)
    if subject.third_party_host:
        return Reach.RENTED
    address = address_of(subject)
    if address is not None:
        return reach_of(address)
    reaches = (REACH_OF_KIND.get(kind_of_block(ip_network(pin))) for pin in subject.pins)
    return max((reach for reach in reaches if reach is not None), default=Reach.NETWORK)


def _check_address(address: Address) -> None:
    kind = kind_of(address)
    if kind is AddressKind.METADATA:
        raise DestinationError(Reason.METADATA_ADDRESS, f"{address} is a cloud's metadata service: never dialled")
    if kind is AddressKind.FORBIDDEN:
        message = f"{address} is in a range that no server honestly has (RFC 6890): write the server's own address"
        raise DestinationError(Reason.FORBIDDEN_ADDRESS, message)


def check_name(host: str, *, weights_only: bool = False) -> None:
    """DestinationError when this is not a canonical host name, or one that is never dialled."""
    labels = host.split(".")
    if host.endswith("."):
        raise DestinationError(Reason.NOT_CANONICAL, f"'{host}' ends in a dot: write '{host.rstrip('.')}'")
    if len(host) > LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        message = "a name has labels of 1 to 63 of a-z, 0-9 and '-' (not at either end), at most 253 in all"
        raise DestinationError(Reason.NOT_CANONICAL, f"'{host}' is not a host name: {message}")
    if _NUMBER.fullmatch(labels[-1]):
        message = f"'{host}' ends in a number, so some programs read it as an address: write the address as a.b.c.d"
        raise DestinationError(Reason.NOT_CANONICAL, message)
    if any(label.startswith("xn--") for label in labels):
        message = f"'{host}' is an encoded international name, easily taken for another: use an ASCII name"
        raise DestinationError(Reason.NOT_CANONICAL, message)
    _check_meaning(host, weights_only=weights_only)


def _check_meaning(host: str, *, weights_only: bool) -> None:
    if is_local_name(host):
        message = f"'{host}' means what the machine's hosts file says: write 127.0.0.1 or [::1]"
        raise DestinationError(Reason.NOT_CANONICAL, message)
    if is_metadata_name(host):
        raise DestinationError(Reason.METADATA_ADDRESS, f"'{host}' is a cloud's metadata service: never dialled")
    _check_provider(host, weights_only=weights_only)


def _check_provider(host: str, *, weights_only: bool) -> None:
    provider = provider_barring(host, weights_only=weights_only)
    if provider is not None:
        message = f"'{host}' belongs to the cloud provider {provider.name}: requests never go to a cloud"
        raise DestinationError(Reason.CLOUD_PROVIDER, message)
