"""What all entries of servers that are no upstreams have in common: where they are, and what they are held to."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from router.settings.strict import Strict


class OutsideEntry(Strict, frozen=True, kw_only=True):
    """Each kind says in its own `url` what is asked there, and in its own `third_party_host` what is learned there."""

    url: str
    addresses: Annotated[
        tuple[str, ...], Meta(description="Pins: CIDR blocks in which every address of the host must lie.")
    ] = ()
    tls_pin: Annotated[
        tuple[str, ...], Meta(description="Pins: `sha256/` and base64 of the SHA-256 of the certificate's public key.")
    ] = ()
    ca_file: Annotated[
        str | None, Meta(description="PEM certificates of the authorities to trust here, instead of the system's.")
    ] = None
    third_party_host: bool = False
