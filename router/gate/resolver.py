"""Names into addresses. A literal and a name of the `hosts` table are never asked for; everything else is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address

from policies import Address, Destination, cloud_provider_of
from router.channel.messages import Cause
from router.gate.connection import UpstreamFault

MOST_ADDRESSES = 64


class Resolver:
    """One question per name at a time, shared by all who wait: a resolver that is slow holds as many threads of ours
    as there are names in the list, however many requests come.
    """

    def __init__(self) -> None:
        self._asking: dict[str, asyncio.Task[Sequence[Address]]] = {}

    async def addresses(self, destination: Destination, timeout_s: float) -> Sequence[Address]:
        """All addresses of the host, () when there are none. UpstreamFault(DNS) after `timeout_s`, or for a flood."""
        written = destination.addresses or (destination.host,)
        try:
            return tuple(ip_address(text) for text in written)
        except ValueError:
            pass
        task = self._asking.get(destination.host)
        if task is None:
            task = asyncio.create_task(lookup(destination.host), name=f"resolve {destination.host}")
            self._asking[destination.host] = task
            task.add_done_callback(partial(self._asked, destination.host))
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done:
            silent = f"no answer from the resolver within {timeout_s:g} s"
            raise UpstreamFault(Cause.DNS, silent, found=destination.host)
        return task.result()

    def _asked(self, host: str, task: asyncio.Task[Sequence[Address]]) -> None:
        self._asking.pop(host, None)
        if not task.cancelled():
            task.exception()  # seen, even when everybody had stopped waiting


async def lookup(host: str) -> Sequence[Address]:
    """Ask the system's resolver for an absolute name (no search domains). UpstreamFault(POLICY): a cloud's alias."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except (socket.gaierror, UnicodeError):
        return ()
    for canonical in {entry[3].lower().rstrip(".") for entry in found if entry[3]} - {host}:  # it was judged itself
        if provider := cloud_provider_of(canonical):
            raise UpstreamFault(Cause.POLICY, f"{host} is an alias of {canonical}, which belongs to {provider.name}")
    addresses = tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
    if len(addresses) > MOST_ADDRESSES:
        flood = f"{len(addresses)} addresses for one name: at most {MOST_ADDRESSES} are taken"
        raise UpstreamFault(Cause.DNS, flood, found=host)
    return addresses
