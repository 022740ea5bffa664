"""On loopback without keys, any web page in the operator's browser could reach us: by another name for 127.0.0.1 (DNS
rebinding) or by a cross-site request. So there, Host and Origin must be this machine's. With keys, the key decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from router.errors import HostNotAllowed
from router.reply import Headers
from router.settings.snapshot import Snapshot

OWN = frozenset({b"none", b"same-origin"})  # Sec-Fetch-Site: a browser says who led it here, also for an <img>
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def judge_origin(headers: Headers, snapshot: Snapshot) -> None:
    """HostNotAllowed unless the request was meant for us."""
    if not snapshot.policy.any_caller:
        return
    hosts = [f"//{value.decode('latin-1')}" for value in _values(headers, b"host")]
    origins = [value.decode("latin-1") for value in _values(headers, b"origin")]
    sites = set(_values(headers, b"sec-fetch-site"))
    if len(hosts) > 1 or not sites <= OWN or any(_name(address) not in LOCAL for address in hosts + origins):
        raise HostNotAllowed("Without keys, only this machine's own programs may ask: use 127.0.0.1 or localhost.")


def _values(headers: Headers, name: bytes) -> Iterable[bytes]:
    return (value for key, value in headers if key == name)


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
