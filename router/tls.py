"""TLS from texts: what our listener shows to clients, and how OpenSSL is given keys that lie in no file it may open."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import Final

LARGEST_PEM: Final = 32 * 1024  # of each text: it goes through a pipe, which holds 64 KiB
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secret, authenticated; 1.3 has no others


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """What a listener shows: the certificate (PEM, with its chain); TLS 1.2 or newer, HTTP/1.1 alone by ALPN.

    No session is resumed by ticket, so that what a reload takes away is gone for whoever connects from then on.
    ssl.SSLError when OpenSSL cannot use the pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, certificate, key)
    return context


def client_context(authorities: str | None = None, text: str | None = None) -> ssl.SSLContext:
    """Chain and host name are verified by the authorities in this file (PEM), or in this text, or by the system's.
    OSError when it is none (ssl.SSLError is one).

    On every Python alike: from 3.13 on the default asks for what RFC 5280 wants of a certificate beside its signature
    (VERIFY_X509_STRICT), which many a private authority made with a few openssl commands does not write.
    """
    context = ssl.create_default_context(cafile=authorities, cadata=text)
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    return context


def load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give a context a certificate and its key; ssl.SSLError when OpenSSL cannot use them."""
    with _readable(certificate) as certificate_file, _readable(key) as key_file:
        context.load_cert_chain(certificate_file, key_file, password="")


@contextlib.contextmanager
def _readable(text: str) -> Iterator[str]:
    """A path that OpenSSL can read this from once: it takes keys from files alone, and a sealed process has none.

    The text lies whole in a pipe, so it must fit one (`LARGEST_PEM`).
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            pipe.write(text.encode())
        os.set_blocking(reading, True)
        yield f"/proc/self/fd/{reading}"
    finally:
        os.close(reading)
