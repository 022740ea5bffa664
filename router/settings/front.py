"""What the listener shows to clients, read and tried when settings are loaded: a sealed worker can open no file."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Final

from router.expiry import ending
from router.settings.authorities import Resolve, check_pair, read_pem
from router.settings.findings import Path, Report
from router.settings.model import SettingsFile
from router.settings.snapshot import TlsMaterial
from router.tls import server_context

if TYPE_CHECKING:  # at run time when there is a certificate to read
    from cryptography import x509

_CERTIFICATE: Final[Path] = ("listen", "tls", "certificate")
_KEY: Final[Path] = ("listen", "tls", "key")


def compile_front(settings: SettingsFile, resolve: Resolve, report: Report) -> TlsMaterial:
    """Certificate and key of `listen.tls`; empty without it, or with a mistake in it, which is reported."""
    tls = settings.listen.tls
    if tls is None:
        return TlsMaterial()
    if tls.certificate is None or tls.key is None:
        alone = _CERTIFICATE if tls.certificate else _KEY if tls.key else _CERTIFICATE[:-1]
        report.add(alone, "'certificate' and 'key' need each other")
        return TlsMaterial()
    certificate = read_pem(tls.certificate, _CERTIFICATE, resolve, report)
    key = read_pem(tls.key, _KEY, resolve, report)
    before = len(report.findings)
    chain = check_pair(certificate, key, (_CERTIFICATE, _KEY), report)
    if not (certificate and key and chain):
        return TlsMaterial()
    _check_time(chain[0], report)
    if len(report.findings) == before:
        _try(certificate, key, report)
    ends = min(one.not_valid_after_utc for one in chain)
    return TlsMaterial(certificate=certificate, key=key, ends=ends.timestamp())


def ends_soon(material: TlsMaterial) -> tuple[str, ...]:
    """What the operator should know of the listener's certificate while it is still good."""
    when = ending(material.ends, time.time())
    return (f"the certificate of 'listen.tls' {when}: renew it, then 'ringfence reload'",) if when else ()


def _check_time(certificate: x509.Certificate, report: Report) -> None:
    """Clients would refuse it, so we do, while the one before is still in force."""
    now = dt.datetime.now(dt.UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends < now:
        report.add(_CERTIFICATE, f"the certificate ended on {ends:%Y-%m-%d %H:%M} UTC", "renew it")
    elif begins > now:
        hint = "is this machine's clock right?"
        report.add(_CERTIFICATE, f"the certificate only begins on {begins:%Y-%m-%d %H:%M} UTC", hint)


def _try(certificate: str, key: str, report: Report) -> None:
    """OpenSSL has rules of its own: keys that are too short, digests that are too weak, chains out of order."""
    try:
        server_context(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        report.add(_CERTIFICATE, f"OpenSSL does not take this pair: {getattr(error, 'reason', '') or error}")
