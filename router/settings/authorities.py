"""TLS material of upstreams, read when settings are loaded: the sealed gate could not open these files any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final

from router.settings.files import read_text
from router.settings.findings import Path, Report, SettingsError
from router.settings.model import SettingsFile
from router.settings.snapshot import TlsMaterial
from router.settings.upstream_entry import UpstreamSettings
from router.tls import LARGEST_PEM

if TYPE_CHECKING:  # at run time when there is a certificate to read: it takes a tenth of a start's CPU time
    from cryptography import x509

Resolve = Callable[[str, Path, Report], FilePath]
KEYS: Final = ("ca_file", "client_cert", "client_key")
PRIVATE: Final = ("client_key", "key")


def tls_materials(settings: SettingsFile, resolve: Resolve, report: Report) -> dict[str, TlsMaterial]:
    """Upstream name -> what its three keys name, for those that have any."""
    return {
        name: _material(name, upstream, resolve, report)
        for name, upstream in settings.upstreams.items()
        if any(getattr(upstream, key) for key in KEYS) and not upstream.engine
    }


def _material(name: str, upstream: UpstreamSettings, resolve: Resolve, report: Report) -> TlsMaterial:
    path: Path = ("upstreams", name)
    for key in KEYS:
        if getattr(upstream, key) and not (upstream.url or "").startswith("https://"):
            report.add((*path, key), "means nothing without TLS", "write an https:// url")
    if bool(upstream.client_cert) != bool(upstream.client_key):
        alone = "client_cert" if upstream.client_cert else "client_key"
        report.add((*path, alone), "'client_cert' and 'client_key' need each other")
    read = {key: read_pem(getattr(upstream, key), (*path, key), resolve, report) for key in KEYS}
    _check_certificates(read["ca_file"], (*path, "ca_file"), report)
    check_pair(read["client_cert"], read["client_key"], ((*path, "client_cert"), (*path, "client_key")), report)
    return TlsMaterial(read["ca_file"], read["client_cert"], read["client_key"])


def read_authorities(written: str | None, path: Path, resolve: Resolve, report: Report) -> str:
    """The certificates in a file, as PEM; empty when there are none, which is reported if one was named."""
    pem = read_pem(written, path, resolve, report)
    _check_certificates(pem, path, report)
    return pem


def read_pem(written: str | None, path: Path, resolve: Resolve, report: Report) -> str:
    """The file's text, "" when it cannot be had, which is reported; a key must be private to its owner."""
    if written is None:
        return ""
    try:
        return read_text(resolve(written, path, report), private=path[-1] in PRIVATE)
    except SettingsError as error:
        found = error.findings[0]
        report.add(path, f"{written}: {found.message}", found.hint)
        return ""


def _check_certificates(pem: str, path: Path, report: Report) -> list[x509.Certificate]:
    if not pem:
        return []
    from cryptography import x509  # noqa: PLC0415 - as said above

    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        report.add(path, "holds no certificate in PEM form", "its first line is -----BEGIN CERTIFICATE-----")
        return []


def check_pair(certificate: str, key: str, paths: tuple[Path, Path], report: Report) -> tuple[x509.Certificate, ...]:
    """The certificate's chain, and that the key is the first one's; never a word of the key is reported."""
    certificate_path, key_path = paths
    chain = _check_certificates(certificate, certificate_path, report)
    if not key:
        return tuple(chain)
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as said above
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError):
        report.add(key_path, "holds no private key in PEM form without a passphrase")
        return tuple(chain)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain and chain[0].public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        report.add(key_path, f"is not the key of the first certificate in '{certificate_path[-1]}'")
    if max(len(certificate), len(key)) > LARGEST_PEM:
        report.add(certificate_path, f"certificate and key may have {LARGEST_PEM} bytes each")
    return tuple(chain)
