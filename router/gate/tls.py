"""How TLS is spoken to upstreams: 1.2 or newer, chain and host name verified, a client certificate where one is set."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from router.settings.snapshot import TlsMaterial


def authority_files() -> tuple[str, ...]:
    """Where this build of OpenSSL looks for certificate authorities."""
    places = ssl.get_default_verify_paths()
    return tuple(str(Path(place).resolve()) for place in (places.openssl_cafile, places.openssl_capath) if place)


def tls_context(material: TlsMaterial | None = None) -> ssl.SSLContext:
    """A context that trusts the upstream's own authorities if it names any, else the system's; HTTP/1.1 only.

    ssl.SSLError when OpenSSL cannot use the material.
    """
    material = material or TlsMaterial()
    context = ssl.create_default_context(cadata=material.authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if material.certificate:
        with _readable(material.certificate) as certificate, _readable(material.key) as key:
            context.load_cert_chain(certificate, key, password="")
    return context


@contextlib.contextmanager
def _readable(text: str) -> Iterator[str]:
    """A path that OpenSSL can read this from once: it takes keys from files alone, and a sealed gate has none.

    The text lies whole in a pipe, so it must fit one (`LARGEST_CLIENT_PEM`).
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            pipe.write(text.encode())
        os.set_blocking(reading, True)
        yield f"/proc/self/fd/{reading}"
    finally:
        os.close(reading)
