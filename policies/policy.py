"""The policy as decided by: frozen tables, made whole from one file or environment, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct, field

from policies.facts import Backend, Caller, Reach

Address = IPv4Address | IPv6Address


class Destination(Struct, frozen=True):
    """Where one upstream lives, in canonical form: nothing else is ever dialled."""

    scheme: str  # "http" or "https"
    host: str  # lower-case name, canonical IPv4, or IPv6 without brackets
    port: int
    path: str  # base path, "" or "/v1": no trailing slash
    pins: tuple[str, ...] = ()  # `addresses:` as canonical CIDR blocks; empty: judged by reach alone
    third_party_host: bool = False
    weights_only: bool = False  # of `model_sources:`; it is never among the upstreams
    tls_pins: tuple[
        str, ...
    ] = ()  # `tls_pin:` as written, "sha256/" and base64 of the SPKI's SHA-256; any one may match

    addresses: tuple[str, ...] = ()  # of `hosts:`, canonical literals; empty: the host is a literal, or DNS is asked

    @property
    def authority(self) -> str:
        """The Host header's value."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Without its path."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


class UpstreamRule(Struct, frozen=True):
    """One listed upstream: an address or an embedded engine, never both."""

    name: str
    reach: Reach
    backend: Backend = Backend.OTHER
    destination: Destination | None = None
    engine: str | None = None
    managed: bool = False  # a program of ours answers there; without a destination, on a socket of its own
    gateway: bool = False  # it may pass requests on to others: the operator answers for where to

    @property
    def place(self) -> tuple[Destination | None, str | None, bool]:
        """Where its prompts go: two rules of one place may differ in all else."""
        return self.destination, self.engine, self.managed


class TierRule(Struct, frozen=True):
    """Upstreams of equal standing."""

    name: str
    upstreams: tuple[str, ...]


class ModelRule(Struct, frozen=True):
    """What a client's model name means: tiers in order, and what each tier's upstreams call the model."""

    name: str
    tiers: tuple[str, ...]
    served: Mapping[str, str] = field(default_factory=dict)  # tier name -> served model
    reach: Reach = Reach.RENTED


class Condition(Struct, frozen=True):
    """What a rule of an `auto` model asks of a prompt: all that is written must hold."""

    images: bool | None = None  # whether it holds any
    tools: bool | None = None  # whether it offers any
    prompt_over: int | None = None  # characters of text
    messages_over: int | None = None
    answer_over: int | None = None  # tokens asked for; a request that does not say asks for none
    code_over: float | None = None  # share of lines, from 0 to 1
    languages: tuple[str, ...] = ()  # one of these


class AutoRule(Struct, frozen=True):
    """`use` this model when the condition holds."""

    use: str
    when: Condition = field(default_factory=Condition)


class AutoModel(Struct, frozen=True):
    """A name that stands for one of several models, chosen request by request: the first rule that matches."""

    name: str
    rules: tuple[AutoRule, ...]


class Policy(Struct, frozen=True):
    """Everything that may be decided by, and the digest that the ledger names it by."""

    digest: str  # hex SHA-256 of the canonical settings
    upstreams: Mapping[str, UpstreamRule]
    tiers: Mapping[str, TierRule]
    models: Mapping[str, ModelRule]
    default_model: str
    callers: Mapping[str, Caller]
    any_caller: bool = False  # loopback without keys: callers are anonymous
    aliases: Mapping[str, str] = field(default_factory=dict)  # what clients may also say -> a model's name
    autos: Mapping[str, AutoModel] = field(default_factory=dict)
