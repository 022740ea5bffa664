"""What all entries of servers that are no upstreams have in common: where they are, and what they are held to."""

from __future__ import annotations

from pydantic import Field

from router.settings.strict import Strict


class OutsideEntry(Strict):
    """Each kind says in its own `url` what is asked there, and in its own `third_party_host` what is learned there."""

    url: str
    addresses: tuple[str, ...] = Field(
        default=(), description="Pins: CIDR blocks in which every address of the host must lie."
    )
    tls_pin: tuple[str, ...] = Field(
        default=(), description="Pins: `sha256/` and base64 of the SHA-256 of the certificate's public key."
    )
    ca_file: str | None = Field(
        default=None, description="PEM certificates of the authorities to trust here, instead of the system's."
    )
    third_party_host: bool = False
