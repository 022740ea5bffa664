"""The tier policy file's shape: every key, its type, its default and what it is for. The reference page is made of it.

Cross-references and destinations are judged later (`compiling`); here only the shape is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from router.settings.engine_entries import EngineEntry
from router.settings.ledger_entries import AuditEntry, CaptureEntry, WitnessEntry
from router.settings.model_entries import ModelEntry
from router.settings.outside_entry import OutsideEntry
from router.settings.strict import Duration, Strict
from router.settings.tier_entries import TierEntry
from router.settings.upstream_entry import UpstreamSettings


def _workers(value: Any) -> Any:
    return 0 if value == "auto" else value


def _seals(value: Any) -> Any:
    words = (value,) if isinstance(value, str) else value
    return () if words == ("none",) else words


class FrontSettings(Strict):
    certificate: str | None = Field(
        default=None,
        description="The certificate to show to clients (PEM, with its chain, its own first). Read again by a reload.",
    )
    key: str | None = Field(default=None, description="Its private key (PEM, mode 0600, no passphrase).")


class ListenSettings(Strict):
    host: str = Field(
        default="127.0.0.1", description="The IP address to serve on. Beyond loopback, callers need keys."
    )
    port: int = Field(default=7860, ge=0, le=65535, description="The TCP port; 0 takes any free one.")
    workers: Annotated[int, BeforeValidator(_workers)] = Field(
        default=0,
        ge=0,
        le=256,
        json_schema_extra={"written": "auto"},
        description="Worker processes; `auto`: one per CPU core but one, which is the gate's; 1 to 8.",
    )
    tls: FrontSettings | None = Field(
        default=None, description="Speak TLS (1.2 or newer, HTTP/1.1) to clients. Left away: plain HTTP."
    )


class SourceEntry(OutsideEntry):
    url: str = Field(description="Its origin: `http(s)://HOST:PORT`, canonical, port included, no path.")
    third_party_host: bool = Field(
        default=False,
        description="Set to true to accept that it is somebody else's computer: it learns which models you fetch.",
    )
    key_file: str | None = Field(
        default=None, description="A file (mode 0600) with a token for it. No other host is shown the token."
    )


class CallersSettings(Strict):
    file: str = Field(description="The file of hashed keys that `ringfence keys create` writes.")


class LimitSettings(Strict):
    body_bytes: int = Field(default=10 * 1024 * 1024, ge=1024, le=1 << 30, description="The largest request body.")
    answer_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1024, le=1 << 32, description="The largest answer of an upstream."
    )
    json_depth: int = Field(default=64, ge=4, le=512, description="How deep a request's JSON may be nested.")
    connections: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Connections of one address, in each worker; one more is closed at once. This machine's own "
        "addresses are not counted.",
    )
    drain: Duration = Field(default=20.0, description="How long running requests may go on after a signal to stop.")


class SettingsFile(Strict):
    version: Literal[1] = Field(default=1, description="The version of this format.")
    listen: ListenSettings = Field(default=ListenSettings(), description="Where clients reach the service.")
    upstreams: dict[str, UpstreamSettings] = Field(
        default={}, description="The allow-list: every server that may ever be dialled, by a name of your own."
    )
    hosts: dict[str, tuple[str, ...]] = Field(
        default={},
        description="Host name: its addresses. Such a name is never asked of DNS; pins hold for it as for any other.",
    )
    engines: dict[str, EngineEntry] = Field(default={}, description="Embedded engines by name; `small` always exists.")
    model_sources: dict[str, SourceEntry] = Field(
        default={},
        description="Where `ringfence models pull` may fetch weights: the first is the Hub, the others are where "
        "it may send us on to. No prompt ever goes there, and the service itself never dials them.",
    )
    model_directory: str = Field(
        default="./models", description="Where pulled models lie; relative to this file, else to the working directory."
    )
    tiers: tuple[TierEntry, ...] = Field(
        default=(), description="Tiers in order. Left away: every upstream is a tier of its own, in file order."
    )
    models: dict[str, ModelEntry] = Field(
        default={},
        description="What clients may ask for. Left away: `default_model` is served by all tiers in file order.",
    )
    default_model: str = Field(
        default="", description="The model of a request that names none; by default the first of `models`."
    )
    callers: CallersSettings | None = Field(default=None, description="Who may ask. Left away: anyone on this machine.")
    audit: AuditEntry = Field(default=AuditEntry(), description="The ledger.")
    witnesses: dict[str, WitnessEntry] = Field(
        default={},
        description="Witnesses (C2SP tlog-witness) that `ringfence audit anchor --to NAME` may show the log's newest "
        "checkpoint. No prompt ever goes there, and the service itself never dials them.",
    )
    capture: CaptureEntry = Field(
        default=CaptureEntry(),
        description="Whose prompts and answers are kept, sealed to the reviewer's key. Left away: nobody's.",
    )
    limits: LimitSettings = Field(
        default=LimitSettings(), description="What one client may send, and what we hold for it."
    )
    watch: Duration = Field(
        default=0.0,
        description="Look this often whether this file, or one that it names, has changed, and reload then; left away: "
        "only when told (`ringfence reload`, SIGHUP).",
    )
    require_seal: Annotated[tuple[Literal["seccomp", "landlock", "netns"], ...], BeforeValidator(_seals)] = Field(
        default=(),
        description="What the kernel must enforce, or the service does not start: `none`, a word, or a list.",
    )
