"""Settings of the right shape made into the Snapshot in force, everything that only makes sense together checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policies import Caller, Policy
from router.settings.authorities import tls_materials
from router.settings.callers import callers_of, read_keys, rules_of
from router.settings.credentials import read_token
from router.settings.findings import Path, Report, SettingsError
from router.settings.front import compile_front
from router.settings.keymodel import KeyEntry
from router.settings.managed import compile_managed
from router.settings.model import SettingsFile
from router.settings.naming import check_callers_models, compile_aliases, compile_autos
from router.settings.own_address import check_own_address
from router.settings.routing import (
    compile_models,
    compile_tiers,
    engines_used,
    prove_ceilings,
    tier_settings,
    tiers_of,
)
from router.settings.snapshot import AuditSettings, CaptureRule, EngineSettings, Limits, Listen, Snapshot
from router.settings.sources import compile_sources
from router.settings.upstreams import check_name, compile_upstreams
from router.settings.witnesses import compile_witnesses

MOST_WORKERS: Final = 8


class Base(Struct, frozen=True):
    """Where relative paths begin: beside the file, also what it leaves to a default; a variable's, where we started."""

    file: str
    beside_file: FilePath
    working: FilePath

    def resolve(self, text: str, path: Path, report: Report) -> FilePath:
        """An absolute path; as it is written where `~` names nobody's home, which is reported."""
        start = self.beside_file if report.origin(path).file == self.file else self.working
        try:
            found = start / FilePath(text).expanduser()
        except RuntimeError:
            report.add(path, f"'{text}': there is no such home directory", "write the path out")
            return start / text
        check_spelling(found, path, report)
        return found


def check_spelling(file: FilePath, path: Path, report: Report) -> None:
    """A path of bytes that are no text could not be handed on to the processes that use it."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        report.add(path, f"the path {str(file)!a} is not UTF-8", "rename what is spelled so, or go elsewhere")


def compile_snapshot(settings: SettingsFile, base: Base, secrets: dict[str, str], report: Report) -> Snapshot:
    """The whole, or as much of it as makes sense: it is in force only if nothing was reported."""
    upstreams = compile_upstreams(settings, report)
    tiers = compile_tiers(settings, report)
    models, default = compile_models(settings, tiers, report)
    for name in settings.engines:
        check_name(name, ("engines", name), report)
    keys = _keys(settings, base, report)
    _check_listen(settings, report)
    check_own_address(settings, upstreams, report)
    callers: dict[str, Caller] = dict(callers_of(keys))
    policy = Policy(
        "", upstreams, tiers, models, default, callers,
        any_caller=settings.callers is None,
        aliases=compile_aliases(settings, report),
        autos=compile_autos(settings, report),
    )  # fmt: skip
    check_callers_models(policy, report)
    if not report.findings:
        prove_ceilings(policy, report)
    snapshot = Snapshot(
        policy=policy,
        listen=_listen(settings),
        front=compile_front(settings, base.resolve, report),
        tiers={tier.name: tier_settings(tier, settings.upstreams) for tier in tiers_of(settings)},
        engines=_engines(engines_used(upstreams), settings, base, report),
        audit=_audit(settings, base, report),
        capture=_capture(settings, policy, report),
        limits=_limits(settings),
        keys=rules_of(keys),
        credentials=_credentials(settings, base, secrets, report),
        tls=tls_materials(settings, base.resolve, report),
        places={name: one.concurrency for name, one in settings.upstreams.items() if one.concurrency},
        may_sleep=frozenset(name for name, upstream in settings.upstreams.items() if upstream.may_sleep),
        weights=compile_sources(settings, base.resolve, report),
        witnesses=compile_witnesses(settings, base.resolve, report),
        require_seal=settings.require_seal,
        managed=compile_managed(settings, report),
        files=_files(settings, base, report),
        watch_s=settings.watch,
    )
    return replace(snapshot, policy=replace(policy, digest=digest(snapshot)))


def digest(snapshot: Snapshot) -> str:
    """SHA-256 (hex) over the canonical JSON of all that decides: no secret, no key's hash, and not where files lie, so
    that a reviewer can compare machines. Only weights that nothing pins are known by their path alone.
    """
    deciding = {
        "policy": replace(snapshot.policy, digest=""),
        "tiers": snapshot.tiers,
        "engines": {name: _placeless(engine) for name, engine in snapshot.engines.items()},
        "limits": snapshot.limits,
        "require_seal": snapshot.require_seal,
        "managed": {name: replace(one, environment={}) for name, one in snapshot.managed.items()},
        "may_sleep": sorted(snapshot.may_sleep),
        "places": snapshot.places,
        "tls": {name: (material.authorities, material.certificate) for name, material in snapshot.tls.items()},
        "durability": snapshot.audit.durability,
        "capture": {"callers": sorted(snapshot.capture.callers), "models": sorted(snapshot.capture.models)},
    }
    return hashlib.sha256(msgspec.json.encode(deciding, order="deterministic")).hexdigest()


def _placeless(engine: EngineSettings) -> EngineSettings:
    """Its files by what they must be. Whether prompts are kept decides; where the key for that lies does not."""
    return replace(
        engine,
        model="" if engine.sha256 or engine.reference else engine.model,
        mmproj="" if engine.mmproj_sha256 or engine.mmproj_reference else engine.mmproj,
        lora=tuple(replace(one, path="") if one.sha256 else one for one in engine.lora),
        keep_key="kept" if engine.keep_key else "",
    )


def _keys(settings: SettingsFile, base: Base, report: Report) -> tuple[KeyEntry, ...]:
    if settings.callers is None:
        return ()
    path: Path = ("callers", "file")
    file = base.resolve(settings.callers.file, path, report)
    try:
        return read_keys(file, report)
    except SettingsError as error:
        if error.unreadable:
            hint = f"ringfence keys create NAME --file {settings.callers.file}"
            report.add(path, f"{settings.callers.file}: {error.findings[0].message}", hint)
        else:
            report.findings.extend(error.findings)
        return ()


def _check_listen(settings: SettingsFile, report: Report) -> None:
    host = settings.listen.host
    path: Path = ("listen", "host")
    try:
        address = ip_address(host)
    except ValueError:
        hint = "127.0.0.1 for this machine alone, 0.0.0.0 for all its networks"
        report.add(path, f"'{host}' is not an IP address", hint)
        return
    if not address.is_loopback and settings.callers is None:
        message = f"{host} is reachable from other machines, and callers need no key"
        hint = "ringfence keys create NAME --file keys.yaml, then callers: {file: keys.yaml} (RINGFENCE_KEYS_FILE)"
        report.add(path, message, hint)


def _listen(settings: SettingsFile) -> Listen:
    listen = settings.listen
    return Listen(listen.host, listen.port, listen.workers or _auto(), tls=listen.tls is not None)


def _auto() -> int:
    """A core for each worker, and one for the gate, which does more for a request than a worker does."""
    return max(1, min(len(os.sched_getaffinity(0)) - 1, MOST_WORKERS))


def _engines(names: Collection[str], settings: SettingsFile, base: Base, report: Report) -> dict[str, EngineSettings]:
    if not names:
        return {}
    from router.settings.engines import compile_engine  # noqa: PLC0415 - what reads model files; most have no engine

    return {name: compile_engine(name, settings, base.resolve, report) for name in names}


def _audit(settings: SettingsFile, base: Base, report: Report) -> AuditSettings:
    directory = base.resolve(settings.audit.directory, ("audit", "directory"), report)
    audit = settings.audit
    return AuditSettings(str(directory), audit.durability, audit.heartbeat, audit.segment_bytes, audit.ml_dsa)


def _capture(settings: SettingsFile, policy: Policy, report: Report) -> CaptureRule:
    """A name that is nobody's would capture nothing, silently."""
    capture = settings.capture
    known = {"callers": policy.callers, "models": policy.models}
    for kind, names in known.items():
        for number, name in enumerate(getattr(capture, kind)):
            if name not in names:
                hint = f"known: {', '.join(sorted(names)) or 'none'}"
                report.add(("capture", kind, number), f"there is no {kind[:-1]} '{name}'", hint)
    return CaptureRule(frozenset(capture.callers), frozenset(capture.models))


def _files(settings: SettingsFile, base: Base, report: Report) -> tuple[str, ...]:
    """Absolute paths of the files that the settings name and that are read with them."""
    named: list[tuple[Path, str | None]] = [
        (("upstreams", name, key), getattr(upstream, key))
        for name, upstream in settings.upstreams.items()
        for key in ("key_file", "ca_file", "client_cert", "client_key")
    ]
    if settings.callers is not None:
        named.append((("callers", "file"), settings.callers.file))
    if (tls := settings.listen.tls) is not None:
        named += [(("listen", "tls", "certificate"), tls.certificate), (("listen", "tls", "key"), tls.key)]
    return tuple(str(base.resolve(text, path, report)) for path, text in named if text is not None)


def _limits(settings: SettingsFile) -> Limits:
    limits = settings.limits
    return Limits(limits.body_bytes, limits.answer_bytes, limits.json_depth, limits.connections, limits.drain)


def _credentials(settings: SettingsFile, base: Base, secrets: dict[str, str], report: Report) -> dict[str, str]:
    found = {name: token for name, token in secrets.items() if name in settings.upstreams}
    for name, upstream in settings.upstreams.items():
        if upstream.key_file is not None:
            path: Path = ("upstreams", name, "key_file")
            token = read_token(base.resolve(upstream.key_file, path, report), upstream.key_file, path, report)
            if token:
                found[name] = token
    return found
