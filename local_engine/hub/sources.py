"""Where a pull may go: a closed list of origins. A redirect elsewhere is refused by the name of its host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?"
)
_PORTS: Final = {"http": "80", "https": "443"}
LONGEST: Final = 16 * 1024
"""Signed addresses of content delivery networks have a few thousand characters."""


class NotListed(Exception):
    """A pull would have to go where it may not; the sentence names the origin to list, if it is meant."""


@dataclass(frozen=True, slots=True)
class Source:
    """One origin, `SCHEME://HOST:PORT`, by a name; `token` is shown to it and to nobody else."""

    name: str
    origin: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A request's place: a listed source, and path with query."""

    source: Source
    path: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The first one is the Hub that names are asked of; the others are where it may send us on to."""

    listed: Sequence[Source]

    @property
    def hub(self) -> Source:
        return self.listed[0]

    def follow(self, target: Target, location: str) -> Target:
        """Where a redirect leads. Raises NotListed."""
        if location.startswith("/") and not location.startswith("//"):
            location = target.source.origin + location
        origin, path = split(location)
        source = next((source for source in self.listed if source.origin == origin), None)
        if source is None:
            raise NotListed(
                f"{target.source.name} sends us on to {origin}, which is not listed: add it to the model sources, if "
                "you mean to fetch from there"
            )
        return Target(source, path)


def split(url: str) -> tuple[str, str]:
    """Origin with its port, and path. NotListed for what is not a plain http(s) URL."""
    found = _URL.fullmatch(url.partition("#")[0]) if len(url) <= LONGEST else None
    if found is None:
        raise NotListed("we are sent on to something that is not a plain http or https address")
    port = found["port"] or _PORTS[found["scheme"]]
    return f"{found['scheme']}://{found['host']}:{port}", found["path"] or "/"
