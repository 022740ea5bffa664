"""The tier policy file's shape: every key, its type, its default and what it is for. The reference page is made of it.

Cross-references and destinations are judged later (`compiling`); here only the shape is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from router.settings.engine_entries import EngineEntry
from router.settings.ledger_entries import AuditEntry, CaptureEntry, WitnessEntry
from router.settings.model_entries import ModelEntry
from router.settings.outside_entry import OutsideEntry
from router.settings.strict import Before, Duration, Strict
from router.settings.tier_entries import TierEntry
from router.settings.upstream_entry import UpstreamSettings


def _workers(value: Any) -> Any:
    return 0 if value == "auto" else value


def _seals(value: Any) -> Any:
    words = (value,) if isinstance(value, str) else value
    return () if words == ("none",) else words


class FrontSettings(Strict, frozen=True):
    certificate: Annotated[
        str | None,
        Meta(
            description="The certificate to show to clients (PEM, with its chain, its own first). Read again by a "
            "reload."
        ),
    ] = None
    key: Annotated[str | None, Meta(description="Its private key (PEM, mode 0600, no passphrase).")] = None


class ListenSettings(Strict, frozen=True):
    host: Annotated[str, Meta(description="The IP address to serve on. Beyond loopback, callers need keys.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="The TCP port; 0 takes any free one.")] = 7860
    workers: Annotated[
        int,
        Before(_workers),
        Meta(
            ge=0,
            le=256,
            extra_json_schema={"written": "auto"},
            description="Worker processes; `auto`: one per CPU core but one, which is the gate's, and at most 8.",
        ),
    ] = 0
    tls: Annotated[
        FrontSettings | None, Meta(description="Speak TLS (1.2 or newer, HTTP/1.1) to clients. Left away: plain HTTP.")
    ] = None


class SourceEntry(OutsideEntry, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="Its origin: `http(s)://HOST:PORT`, canonical, port included, no path.")]
    third_party_host: Annotated[
        bool,
        Meta(
            description="Set to true to accept that it is somebody else's computer: it learns which models you fetch."
        ),
    ] = False
    key_file: Annotated[
        str | None, Meta(description="A file (mode 0600) with a token for it. No other host is shown the token.")
    ] = None


class CallersSettings(Strict, frozen=True):
    file: Annotated[str, Meta(description="The file of hashed keys that `ringfence keys create` writes.")]


class LimitSettings(Strict, frozen=True):
    body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30, description="The largest request body.")] = 10 * 1024 * 1024
    answer_bytes: Annotated[int, Meta(ge=1024, le=1 << 32, description="The largest answer of an upstream.")] = (
        32 * 1024 * 1024
    )
    json_depth: Annotated[int, Meta(ge=4, le=512, description="How deep a request's JSON may be nested.")] = 64
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Connections of one address, in each worker; one more is closed at once. This machine's own "
            "addresses are not counted.",
        ),
    ] = 4096
    drain: Annotated[Duration, Meta(description="How long running requests may go on after a signal to stop.")] = 20.0


class SettingsFile(Strict, frozen=True):
    version: Annotated[Literal[1], Meta(description="The version of this format.")] = 1
    listen: Annotated[ListenSettings, Meta(description="Where clients reach the service.")] = ListenSettings()
    upstreams: Annotated[
        dict[str, UpstreamSettings],
        Meta(description="The allow-list: every server that may ever be dialled, by a name of your own."),
    ] = field(default_factory=dict)
    hosts: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="Host name: its addresses. Such a name is never asked of DNS; pins hold for it as for any "
            "other."
        ),
    ] = field(default_factory=dict)
    engines: Annotated[dict[str, EngineEntry], Meta(description="Embedded engines by name; `small` always exists.")] = (
        field(default_factory=dict)
    )
    model_sources: Annotated[
        dict[str, SourceEntry],
        Meta(
            description="Where `ringfence models pull` may fetch weights: the first is the Hub, the others are where "
            "it may send us on to. No prompt ever goes there, and the service itself never dials them."
        ),
    ] = field(default_factory=dict)
    model_directory: Annotated[
        str, Meta(description="Where pulled models lie; relative to this file, else to the working directory.")
    ] = "./models"
    tiers: Annotated[
        tuple[TierEntry, ...],
        Meta(description="Tiers in order. Left away: every upstream is a tier of its own, in file order."),
    ] = ()
    models: Annotated[
        dict[str, ModelEntry],
        Meta(description="What clients may ask for. Left away: `default_model` is served by all tiers in file order."),
    ] = field(default_factory=dict)
    default_model: Annotated[
        str, Meta(description="The model of a request that names none; by default the first of `models`.")
    ] = ""
    callers: Annotated[CallersSettings | None, Meta(description="Who may ask. Left away: anyone on this machine.")] = (
        None
    )
    audit: Annotated[AuditEntry, Meta(description="The ledger.")] = AuditEntry()
    witnesses: Annotated[
        dict[str, WitnessEntry],
        Meta(
            description="Witnesses (C2SP tlog-witness) that `ringfence audit anchor --to NAME` may show the log's "
            "newest "
            "checkpoint. No prompt ever goes there, and the service dials them at that order only, recorded."
        ),
    ] = field(default_factory=dict)
    capture: Annotated[
        CaptureEntry,
        Meta(description="Whose prompts and answers are kept, sealed to the reviewer's key. Left away: nobody's."),
    ] = CaptureEntry()
    limits: Annotated[LimitSettings, Meta(description="What one client may send, and what we hold for it.")] = (
        LimitSettings()
    )
    watch: Annotated[
        Duration,
        Meta(
            description="Look this often whether this file, or one that it names, has changed, and reload then; left "
            "away: "
            "only when told (`ringfence reload`, SIGHUP)."
        ),
    ] = 0.0
    require_seal: Annotated[
        tuple[Literal["seccomp", "landlock", "netns"], ...],
        Before(_seals),
        Meta(description="What the kernel must enforce, or the service does not start: `none`, a word, or a list."),
    ] = ()
