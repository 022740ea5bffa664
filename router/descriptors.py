"""How many files and sockets this process may have open (RLIMIT_NOFILE), and some of them kept back.

The kernel gives out the lowest number that is free (open(2), accept(2)), so the number of the newest one tells how many
there are. Who is refused for want of them is told so; the ledger and the channels never lack them.
"""

from __future__ import annotations

import resource
from typing import Final

from msgspec import Struct

KEPT_BACK: Final = 64
MOST: Final = 1 << 20  # where the hard limit is none, so is /proc/sys/fs/nr_open: a number that no process fills


class Descriptors(Struct, frozen=True):
    """The limit that holds; by default as if there were none."""

    limit: int = MOST

    def short(self, newest: int) -> bool:
        """Is this one of the last, which clients and upstreams do not get?"""
        return newest >= self.limit - min(KEPT_BACK, self.limit // 4)


def take_all() -> Descriptors:
    """Raise the soft limit to the hard one; what holds from now on.

    Only in a process that starts no others: a program that still uses select(2) breaks above 1024.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):  # no more than nr_open, whatever the hard limit says
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Descriptors(limit)
