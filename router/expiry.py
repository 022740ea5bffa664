"""Certificates that end: told some days before, while there is time to renew them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from router.logs import Log

SOON_S: Final = 14 * 86_400.0
FIRST_S = 60.0  # after the start: by then upstreams have shown theirs
EVERY_S: Final = 6 * 3600.0


def ending(ends: float, now: float) -> str:
    """When it ends (UNIX time) or did, in words; "" while there is time, and for 0: not known."""
    if not ends or ends - now > SOON_S:
        return ""
    word = "ends" if ends > now else "ended"
    return f"{word} on {time.strftime('%Y-%m-%d %H:%M', time.gmtime(ends))} UTC"


async def tell(known: Callable[[], Iterable[tuple[str, float]]], log: Log) -> None:
    """For as long as the task lives. `known`: whose certificates there are, in words, and when each ends."""
    await asyncio.sleep(FIRST_S)
    while True:
        for whose, ends in known():
            if when := ending(ends, time.time()):
                log("certificate_ends_soon", reason=f"the certificate of {whose} {when}: renew it")
        await asyncio.sleep(EVERY_S)
