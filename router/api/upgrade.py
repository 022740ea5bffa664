"""A request that offers to upgrade is served as if it did not (RFC 9110, 7.8): Java's HttpClient offers h2c each time.

llhttp takes what follows such a head for another protocol, so its body would be read as the next request. So the head
is written anew, without the offer, and read again: the body is then a body.
"""

from __future__ import annotations

from router.reply import Headers

_OFFERS = frozenset({b"upgrade", b"http2-settings"})  # RFC 7540, 3.2.1: only ever about this connection


def without_offer(method: bytes, target: bytes, headers: Headers) -> bytes:
    """The head of an HTTP/1.1 request, as parsed (names in lower case), without Upgrade and what Connection says of it.

    ValueError if a value could end its line: nothing that was parsed strictly can.
    """
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    for name, value in headers:
        kept = _other_tokens(value) if name == b"connection" else value
        if name in _OFFERS or (name == b"connection" and not kept):
            continue
        if b"\r" in kept or b"\n" in kept:
            raise ValueError("a header that ends its line")
        lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _other_tokens(value: bytes) -> bytes:
    tokens = (token.strip() for token in value.split(b","))
    return b", ".join(token for token in tokens if token.lower() not in _OFFERS)
