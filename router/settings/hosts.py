"""The `hosts` table: names that DNS is never asked for, judged at load as a resolver's answers are when dialling."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from policies import Destination, DestinationError, decide_egress
from policies.destination import check_name, literal_of
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.shape import nearest

Hosts = Mapping[str, tuple[str, ...]]
MOST_ADDRESSES: Final = 64


def compile_hosts(settings: SettingsFile, report: Report) -> Hosts:
    """Host name -> canonical address literals; what is wrong is reported, a name that no upstream has among it."""
    urls = [upstream.url for upstream in settings.upstreams.values() if upstream.url]
    urls += [source.url for source in settings.model_sources.values()]
    named = sorted({_host_of(url) for url in urls})
    hosts: dict[str, tuple[str, ...]] = {}
    for name, written in settings.hosts.items():
        path: Path = ("hosts", name)
        try:
            check_name(name)
        except DestinationError as error:
            report.add(path, f"{error.reason}: {error}")
            continue
        if name not in named:
            report.add(path, f"no upstream has the host '{name}'", nearest(name, named))
        if not 0 < len(written) <= MOST_ADDRESSES:
            report.add(path, f"needs 1 to {MOST_ADDRESSES} addresses", "for example [10.1.2.3]")
        hosts[name] = tuple(text for at, text in enumerate(written) if _is_literal(text, (*path, at), report))
    return hosts


def check_addresses(destination: Destination, report: Report) -> None:
    """Report a table's addresses that the gate would refuse for this upstream."""
    if not destination.addresses:
        return
    decision = decide_egress(destination, [ip_address(text) for text in destination.addresses])
    if not decision.allowed:
        hint = "a name without 'addresses' may only be private; pin it with addresses: [BLOCK] if this is meant"
        report.add(("hosts", destination.host), f"{decision.reason}: {decision.detail}", hint)


def _host_of(url: str) -> str:
    """Good enough to find a typing error: the URL itself is judged elsewhere."""
    return url.partition("://")[2].partition("/")[0].rpartition(":")[0]


def _is_literal(text: str, path: Path, report: Report) -> bool:
    try:
        literal_of(text)
    except DestinationError as error:
        report.add(path, str(error))
        return False
    return True
