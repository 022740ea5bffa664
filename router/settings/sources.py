"""Where weights may be fetched from, and where they lie then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath

from router.settings.authorities import read_authorities
from router.settings.credentials import read_token
from router.settings.findings import Path, Report
from router.settings.hosts import compile_hosts
from router.settings.model import SettingsFile, SourceEntry
from router.settings.snapshot import Weights, WeightSource
from router.settings.upstream_entry import UpstreamSettings
from router.settings.upstreams import check_name, compile_destination

Resolve = Callable[[str, Path, Report], FilePath]


def model_directory(settings: SettingsFile, resolve: Resolve, report: Report) -> FilePath:
    """An absolute path."""
    return resolve(settings.model_directory, ("model_directory",), report)


def compile_sources(settings: SettingsFile, resolve: Resolve, report: Report) -> Weights:
    """All that stand; what does not is reported."""
    unheard = Report(report.file, {})  # the table's own mistakes are reported with the upstreams
    hosts = compile_hosts(settings, unheard)
    found: list[WeightSource] = []
    for name, entry in settings.model_sources.items():
        path: Path = ("model_sources", name)
        check_name(name, path, report)
        place = UpstreamSettings(
            url=entry.url, addresses=entry.addresses, tls_pin=entry.tls_pin, third_party_host=entry.third_party_host
        )
        destination = compile_destination(place, path, hosts, report, weights_only=True)
        if destination is None:
            continue
        if destination.path:
            report.add((*path, "url"), "is an origin: it has no path", f'write url: "{destination.origin}"')
        if destination.url in {other.destination.url for other in found}:
            report.add((*path, "url"), "stands here twice", "list each origin once")
        token = _token(entry, path, resolve, report)
        found.append(WeightSource(name, destination, token, _authorities(entry, path, resolve, report)))
    return Weights(str(model_directory(settings, resolve, report)), tuple(found))


def _token(entry: SourceEntry, path: Path, resolve: Resolve, report: Report) -> str:
    if entry.key_file is None:
        return ""
    place = (*path, "key_file")
    return read_token(resolve(entry.key_file, place, report), entry.key_file, place, report)


def _authorities(entry: SourceEntry, path: Path, resolve: Resolve, report: Report) -> str:
    return read_authorities(entry.ca_file, (*path, "ca_file"), resolve, report)
