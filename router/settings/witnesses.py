"""Who may be shown the log's checkpoints: destinations listed and judged as any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Final

from router.settings.authorities import read_authorities
from router.settings.findings import Path, Report
from router.settings.hosts import compile_hosts
from router.settings.model import SettingsFile
from router.settings.snapshot import Witness
from router.settings.upstream_entry import UpstreamSettings
from router.settings.upstreams import check_name, compile_destination

_VKEY: Final = re.compile(r"[^+\s]+\+[0-9a-f]{8}\+B[A-P][A-Za-z0-9+/]{42}")  # base64 of 0x04 and 32 bytes


def compile_witnesses(
    settings: SettingsFile, resolve: Callable[[str, Path, Report], FilePath], report: Report
) -> tuple[Witness, ...]:
    """All that stand; what does not is reported."""
    unheard = Report(report.file, {})  # the table's own mistakes are reported with the upstreams
    hosts = compile_hosts(settings, unheard)
    found: list[Witness] = []
    for name, entry in settings.witnesses.items():
        path: Path = ("witnesses", name)
        check_name(name, path, report)
        if not _VKEY.fullmatch(entry.vkey):
            report.add((*path, "vkey"), "is not a witness's key", "name+hash+base64, as its keeper publishes it")
        place = UpstreamSettings(
            url=entry.url, addresses=entry.addresses, tls_pin=entry.tls_pin, third_party_host=entry.third_party_host
        )
        destination = compile_destination(place, path, hosts, report)
        authorities = read_authorities(entry.ca_file, (*path, "ca_file"), resolve, report)
        if destination is not None:
            found.append(Witness(name, destination, entry.vkey, authorities))
    return tuple(found)
