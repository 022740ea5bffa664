"""ringfence export: the same list for other fences, on standard output; what it cannot know, on standard error."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

import typer

from router.export.fence import Fence, fence_of
from router.export.kubernetes import cilium, networkpolicy
from router.export.nftables import nftables
from router.export.systemd import systemd
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import load

RESOLVER = Path("/etc/resolv.conf")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}")
_LABEL = re.compile(r"[A-Za-z0-9./_-]{1,253}=[A-Za-z0-9._-]{1,63}")


class Form(StrEnum):
    """What can be written."""

    NFTABLES = "nftables"
    SYSTEMD = "systemd"
    NETWORKPOLICY = "networkpolicy"
    CILIUM = "cilium"


def export(
    form: Annotated[Form, typer.Argument(help="for which fence")],
    file: Annotated[
        Path | None, typer.Argument(help="the tier policy file; without it, what 'serve' would use")
    ] = None,
    user: Annotated[str, typer.Option(help="nftables: the service's user, by name or number")] = "ringfence",
    nameserver: Annotated[
        list[str] | None, typer.Option(help="addresses of name servers; without it, those of /etc/resolv.conf")
    ] = None,
    client: Annotated[list[str] | None, typer.Option(help="systemd: blocks that may call the service")] = None,
    label: Annotated[str, typer.Option(help="Kubernetes: KEY=VALUE of the service's pods")] = "app=ringfence",
) -> None:
    """Compile the allow-list for nftables, systemd, or Kubernetes. Exit 1: the policy is not good; 2: wrong usage."""
    servers, clients = nameserver or _nameservers(), client or []
    _check(user, label, servers, clients)
    try:
        snapshot = load(file, current())
    except SettingsError as error:
        typer.echo(f"{error}\nthe settings are not good, so nothing is exported: see 'ringfence check'", err=True)
        raise typer.Exit(1) from None
    fence = fence_of(snapshot.policy, snapshot.listen.host, snapshot.listen.port)
    print(_compiled(form, fence, (user, label), servers, clients), end="")
    for note in fence.notes:
        typer.echo(f"note: {note}", err=True)


def _compiled(form: Form, fence: Fence, who: tuple[str, str], servers: list[str], clients: list[str]) -> str:
    user, label = who
    match form:
        case Form.NFTABLES:
            return nftables(fence, user, servers)
        case Form.SYSTEMD:
            return systemd(fence, servers, clients)
        case Form.NETWORKPOLICY:
            return networkpolicy(fence, label)
        case Form.CILIUM:
            return cilium(fence, label)


def _check(user: str, label: str, servers: list[str], clients: list[str]) -> None:
    """What goes into the texts is what it says it is."""
    if not _USER.fullmatch(user):
        raise typer.BadParameter(f"'{user}' is neither a user's name nor a number", param_hint="--user")
    if not _LABEL.fullmatch(label):
        raise typer.BadParameter("write KEY=VALUE", param_hint="--label")
    try:
        for server in servers:
            ip_address(server)
        for block in clients:
            ip_network(block)
    except ValueError as error:
        raise typer.BadParameter(f"{error}: write addresses as 10.0.0.1, blocks as 10.0.0.0/8") from None


def _nameservers() -> list[str]:
    try:
        lines = RESOLVER.read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and "%" not in word[1]]
