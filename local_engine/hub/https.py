"""The stand-alone engine's own transport: plain HTTP/1.1 by the standard library, TLS verified, nothing followed.

No proxy setting, no .netrc and no environment variable is read. The router has a transport of its own, by its gate.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from local_engine.hub.sources import Target
from local_engine.hub.transport import Answer, Cut

CONNECT_S = 15.0
CHUNK = 1 << 18


class HttpTransport:
    """`authorities`: a file of certificate authorities, instead of the system's."""

    def __init__(self, authorities: str | None = None) -> None:
        self._tls = ssl.create_default_context(cafile=authorities)
        self._tls.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST  # as before Python 3.13: private authorities

    @contextmanager
    def get(self, target: Target, headers: Mapping[str, str]) -> Iterator[Answer]:
        place = urlsplit(target.source.origin)
        host, port = place.hostname or "", place.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=self._tls)
            if place.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=CONNECT_S)
        )
        try:
            try:
                fixed = {"User-Agent": "ringfence", "Accept-Encoding": "identity", "Connection": "close"}
                connection.request("GET", target.path, headers={**fixed, **headers})
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Cut(f"no answer from {target.source.name}: {_why(error)}") from None
            named = {name.lower(): value for name, value in answer.getheaders()}
            yield Answer(answer.status, named, _chunks(answer, target))
        finally:
            connection.close()


def _chunks(answer: http.client.HTTPResponse, target: Target) -> Iterator[bytes]:
    try:
        while chunk := answer.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Cut(f"{target.source.name} broke off: {_why(error)}") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
