"""An upstream that is this service itself: each request would come back in, until no place is left for any.

It comes about where an app and this service read the same `CUSTOM_LLM_BASE_URL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from policies import Destination, UpstreamRule
from router.settings.findings import Report
from router.settings.model import SettingsFile

_HINT = "write the model server's own URL here; the app's settings are where this service's belongs"


def check_own_address(settings: SettingsFile, rules: Mapping[str, UpstreamRule], report: Report) -> None:
    """A finding for each; programs of ours are left out, since they listen in a network of their own."""
    own, port = _address(settings.listen.host), settings.listen.port
    for name, rule in rules.items():
        there = rule.destination
        if own is None or there is None or rule.managed or there.port != port:
            continue
        if any(_is_heard(own, address) for address in _addresses(there)):
            report.add(("upstreams", name, "url"), "this service itself listens there: requests would go round", _HINT)


def _addresses(destination: Destination) -> list[IPv4Address | IPv6Address]:
    """What is known of it without asking DNS."""
    found = (_address(text) for text in (destination.host, *destination.addresses))
    return [address for address in found if address is not None]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None


def _is_heard(own: IPv4Address | IPv6Address, address: IPv4Address | IPv6Address) -> bool:
    """Whether a listener on `own` hears what is sent to `address`; of this machine's others only loopback is known."""
    return address == own or (own.is_unspecified and address.is_loopback)
