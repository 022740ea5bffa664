"""How TLS is spoken to upstreams: 1.2 or newer, chain and host name verified, a client certificate where one is set."""

from __future__ import annotations

import ssl
from pathlib import Path

from policies import UpstreamRule
from router.settings.snapshot import Snapshot, TlsMaterial
from router.tls import client_context, load_pair


def authority_files() -> tuple[str, ...]:
    """Where this build of OpenSSL looks for certificate authorities."""
    places = ssl.get_default_verify_paths()
    return tuple(str(Path(place).resolve()) for place in (places.openssl_cafile, places.openssl_capath) if place)


def needs_system_authorities(rule: UpstreamRule, snapshot: Snapshot) -> bool:
    """Whether TLS is spoken to this upstream without material of its own."""
    return rule.destination is not None and rule.destination.scheme == "https" and rule.name not in snapshot.tls


def tls_context(material: TlsMaterial | None = None) -> ssl.SSLContext:
    """A context that trusts the upstream's own authorities if it names any, else the system's; HTTP/1.1 only.

    ssl.SSLError when OpenSSL cannot use the material.
    """
    material = material or TlsMaterial()
    context = client_context(text=material.authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if material.certificate:
        load_pair(context, material.certificate, material.key)
    return context
