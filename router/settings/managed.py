"""Upstreams with a `command`: what must hold between the program, its address and its cage."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Final

from policies import DestinationError, parse_destination
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.snapshot import ManagedSettings
from router.settings.upstream_entry import UpstreamSettings

SOCKET: Final = "{socket}"
PORT: Final = "{port}"
_WITH_COMMAND: Final = (
    "network",
    "start",
    "idle",
    "exclusive",
    "patience",
    "start_within",
    "stop_within",
    "environment",
    "read",
    "write",
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}|")


def compile_managed(settings: SettingsFile, report: Report) -> dict[str, ManagedSettings]:
    """The programs to run, by upstream."""
    return {
        name: _program(name, upstream, report)
        for name, upstream in settings.upstreams.items()
        if _is_managed(name, upstream, report)
    }


def _is_managed(name: str, upstream: UpstreamSettings, report: Report) -> bool:
    if not upstream.command:
        for key in _WITH_COMMAND:
            if key in upstream.written:
                report.add(
                    ("upstreams", name, key), "means nothing without 'command'", "write the program, or leave it"
                )
    return bool(upstream.command) and upstream.engine is None  # beside an engine it is reported there


def _program(name: str, upstream: UpstreamSettings, report: Report) -> ManagedSettings:
    path: Path = ("upstreams", name)
    if not upstream.command[0].startswith("/"):
        message = f"'{upstream.command[0]}' is not the whole path of a program"
        report.add((*path, "command", 0), message, "write where it lies, from the root: /usr/local/bin/llama-server")
    if not _GROUP.fullmatch(upstream.exclusive or ""):
        report.add((*path, "exclusive"), "is not a name", "up to 64 letters, digits, '.', '_' and '-'")
    for variable, value in upstream.environment.items():
        if not _VARIABLE.fullmatch(variable) or "\0" in value:
            report.add((*path, "environment", variable), "is not a variable's name")
    none = upstream.network == "none"
    command = _on_socket(upstream, path, report) if none else _on_port(upstream, path, report)
    return ManagedSettings(
        name=name,
        command=command,
        network=upstream.network,
        eager=upstream.start == "eager",
        idle_s=upstream.idle,
        exclusive=upstream.exclusive or "",
        patience_s=upstream.patience,
        start_within_s=upstream.start_within,
        stop_within_s=upstream.stop_within,
        environment=upstream.environment,
        address=("", 0) if none else _address(upstream),
        read=_places(upstream.read, (*path, "read"), report),
        write=_places(upstream.write, (*path, "write"), report),
    )


def _places(given: tuple[str, ...], path: Path, report: Report) -> tuple[str, ...]:
    for number, place in enumerate(given):
        parts = PurePosixPath(place).parts
        if not place.startswith("/") or ".." in parts:
            report.add((*path, number), f"'{place}' is not a whole path", "write it from the root, without '..'")
        elif len(parts) == 1:
            report.add((*path, number), "'/' is everything", "name the directories that the program needs")
    return given


def _address(upstream: UpstreamSettings) -> tuple[str, int]:
    try:
        destination = parse_destination(upstream.url or "")
    except DestinationError:
        return "", 0  # reported where all addresses are
    return destination.host, destination.port


def _on_socket(upstream: UpstreamSettings, path: Path, report: Report) -> tuple[str, ...]:
    if upstream.url is not None:
        hint = "'network: loopback' lets it listen there, or leave 'url' away and let it serve on {socket}"
        report.add((*path, "url"), "nothing can listen there in an empty network", hint)
    elif not any(SOCKET in part for part in upstream.command):
        hint = "llama-server: --host {socket}; vllm serve: --uds {socket}; or 'network: loopback' with a 'url'"
        report.add((*path, "command"), "does not say {socket}, the UNIX socket that it must serve on", hint)
    return upstream.command


def _on_port(upstream: UpstreamSettings, path: Path, report: Report) -> tuple[str, ...]:
    """The port of `url` must be the one that the program is told."""
    try:
        destination = parse_destination(upstream.url or "")
    except DestinationError:
        if upstream.url is None:  # else it was reported where all addresses are
            report.add(path, "needs the 'url' that its command listens on", 'url: "http://127.0.0.1:9001/v1"')
        return upstream.command
    if not _is_loopback(destination.host):
        report.add((*path, "url"), "a program that we start listens on loopback", "write 127.0.0.1")
    port = str(destination.port)
    if not any(PORT in part or re.search(rf"(?<!\d){port}(?!\d)", part) for part in upstream.command):
        report.add((*path, "command"), f"does not say the port of its url, {port}", "write {port} where it belongs")
    return tuple(part.replace(PORT, port) for part in upstream.command)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
