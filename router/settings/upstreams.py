"""Listed upstreams as the policy's rules: each destination judged, each mistake placed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Final

from msgspec.structs import replace

from policies import (
    Backend,
    Destination,
    DestinationError,
    Reach,
    UpstreamRule,
    classify_reach,
    decide_listing,
    parse_destination,
)
from router.settings.findings import Path, Report
from router.settings.hosts import Hosts, check_addresses, compile_hosts
from router.settings.model import SettingsFile
from router.settings.shape import nearest
from router.settings.upstream_entry import UpstreamSettings

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TLS_PIN: Final = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")
MOST_NOTES: Final = 8
BUILT_IN_ENGINE: Final = "small"


def compile_upstreams(settings: SettingsFile, report: Report) -> dict[str, UpstreamRule]:
    """Every rule that stands; what does not is reported."""
    rules: dict[str, UpstreamRule] = {}
    hosts = compile_hosts(settings, report)
    engines = {BUILT_IN_ENGINE, *settings.engines}
    first_at: dict[str, str] = {}
    if not settings.upstreams:
        report.add(("upstreams",), "lists no upstream", "leave 'upstreams' and 'tiers' away to run the embedded engine")
    for name, upstream in settings.upstreams.items():
        path: Path = ("upstreams", name)
        check_name(name, path, report)
        embedded = bool(upstream.engine)
        rule = _embedded(name, upstream, engines, report) if embedded else _listed(name, upstream, hosts, report)
        if rule is None:
            continue
        if rule.destination is not None:
            other = first_at.setdefault(rule.destination.url, name)
            if other != name:
                report.add((*path, "url"), f"the same address as '{other}'", "list each server once")
        rules[name] = rule
    return rules


def asked_beside_v1(rules: Mapping[str, UpstreamRule]) -> tuple[str, ...]:
    """A note for each upstream whose URL does not end as OpenAI's surface does nearly everywhere; a few of them."""
    beside = [rule for rule in rules.values() if rule.destination and not rule.destination.path.endswith("/v1")]
    notes = [_beside_v1(rule.name, rule.destination.url) for rule in beside[:MOST_NOTES] if rule.destination]
    if len(beside) > MOST_NOTES:
        notes.append(f"and so will {len(beside) - MOST_NOTES} more upstreams whose url does not end in /v1")
    return tuple(notes)


def _beside_v1(name: str, url: str) -> str:
    return (
        f"upstream '{name}' will be asked at {url}/chat/completions: "
        f'most servers answer at {url}/v1/chat/completions, with url: "{url}/v1"'
    )


def check_name(name: str, path: Path, report: Report) -> None:
    """Names go into headers and the ledger, so they are plain."""
    if not NAME.fullmatch(name):
        report.add(path, f"'{name[:64]}' is not a name", "up to 64 letters, digits, '.', '_' and '-'")


def _embedded(name: str, upstream: UpstreamSettings, engines: set[str], report: Report) -> UpstreamRule | None:
    path: Path = ("upstreams", name, "engine")
    for key in _said_beside_engine(upstream):
        report.add(("upstreams", name, key), "means nothing beside 'engine'", "leave it away or list two upstreams")
    if upstream.engine not in engines:
        report.add(path, f"no engine is called '{upstream.engine}'", nearest(str(upstream.engine), sorted(engines)))
        return None
    return UpstreamRule(name, Reach.PROCESS, Backend.LLAMA_CPP, engine=upstream.engine)


def _said_beside_engine(upstream: UpstreamSettings) -> list[str]:
    default = UpstreamSettings(engine=upstream.engine).values()
    return [key for key, value in upstream.values().items() if value != default[key]]


def _listed(name: str, upstream: UpstreamSettings, hosts: Hosts, report: Report) -> UpstreamRule | None:
    path: Path = ("upstreams", name)
    managed = bool(upstream.command)
    if managed and upstream.network == "none" and upstream.url is None:
        return UpstreamRule(name, Reach.HOST, Backend(upstream.backend), gateway=upstream.gateway, managed=True)
    if upstream.url is None:
        report.add(path, "has neither 'url' nor 'engine' nor 'command'", "write one of them")
        return None
    destination = compile_destination(upstream, path, hosts, report)
    reach = classify_reach(destination) if destination is not None else None
    if destination is None or reach is None:
        return None
    return UpstreamRule(name, reach, Backend(upstream.backend), destination, gateway=upstream.gateway, managed=managed)


def compile_destination(
    upstream: UpstreamSettings, path: Path, hosts: Hosts, report: Report, *, weights_only: bool = False
) -> Destination | None:
    """The listed place of what stands at `path`; None, and reported, when it may not be listed."""
    plain, sound = _parsed(upstream.url or "", path, report, weights_only=weights_only)
    if plain is None:
        return None
    destination = replace(
        plain,
        third_party_host=upstream.third_party_host,
        pins=_pins(upstream, path, report),
        tls_pins=_tls_pins(upstream, plain, path, report),
        addresses=hosts.get(plain.host, ()),
    )
    listing = decide_listing(destination)
    if not listing.allowed:
        report.add((*path, "url"), f"{listing.reason}: {listing.detail}", _acknowledgement(path, report))
        return None
    check_addresses(destination, report)
    return destination if sound else None


def _parsed(url: str, path: Path, report: Report, *, weights_only: bool) -> tuple[Destination | None, bool]:
    """The destination and whether it is written so. One that lacks its port alone is judged on, as it would be."""
    try:
        return parse_destination(url, weights_only=weights_only), True
    except DestinationError as error:
        report.add((*path, "url"), f"{error.reason}: {error.message}", _line_to_write(error, (*path, "url"), report))
        meant = error.instead
    try:
        return parse_destination(meant, weights_only=weights_only), False
    except DestinationError:
        return None, False


def _acknowledgement(path: Path, report: Report) -> str:
    """In the environment the words of the file do not help."""
    variable = report.origin((*path, "url")).variable
    number = variable.removeprefix("TIER").partition("_")[0] if variable.startswith("TIER") else "1"
    return f"in the environment: TIER{number}_THIRD_PARTY_HOST=true" if variable else ""


def _line_to_write(error: DestinationError, path: Path, report: Report) -> str:
    """The whole line, where it is known."""
    if not error.instead:
        return ""
    variable = report.origin(path).variable
    return f"write {variable}={error.instead}" if variable else f'write url: "{error.instead}"'


def _pins(upstream: UpstreamSettings, path: Path, report: Report) -> tuple[str, ...]:
    blocks: list[str] = []
    for position, text in enumerate(upstream.addresses):
        place = (*path, "addresses", position)
        try:
            block = str(ip_network(text, strict=False))
        except ValueError:
            report.add(place, f"'{text}' is not a block of addresses", "write it as 10.1.2.0/24 or 10.1.2.3/32")
            continue
        if text not in (block, block.partition("/")[0]):
            report.add(place, f"'{text}' is not in canonical form", f"write {block}")
        blocks.append(block)
    return tuple(blocks)


def _tls_pins(upstream: UpstreamSettings, plain: Destination, path: Path, report: Report) -> tuple[str, ...]:
    for position, pin in enumerate(upstream.tls_pin):
        if not _TLS_PIN.fullmatch(pin):
            report.add((*path, "tls_pin", position), "is not a pin", "write sha256/ and 44 characters of base64")
    if upstream.tls_pin and plain.scheme != "https":
        report.add((*path, "tls_pin"), "a certificate is only shown over https")
    return upstream.tls_pin
