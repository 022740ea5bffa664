"""Defaults, environment, file and flags made into one Snapshot, or into every finding at once.

Weak to strong: defaults, environment, file, flags. Upstreams, tiers and models come whole from the strongest place that
names upstreams, so that the list of destinations is always written in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from router.settings import document, environment
from router.settings.compiling import Base, check_spelling, compile_snapshot
from router.settings.credentials import is_token
from router.settings.engine_entries import EngineEntry
from router.settings.files import read_text
from router.settings.findings import Finding, Origin, Path, Report, SettingsError
from router.settings.flags import Flags
from router.settings.front import ends_soon
from router.settings.layers import EMBEDDED_ALONE, Layer, lay, names_upstreams
from router.settings.model import SettingsFile
from router.settings.salvage import salvage
from router.settings.shape import validate
from router.settings.snapshot import Snapshot
from router.settings.upstream_entry import UpstreamSettings
from router.settings.upstreams import asked_beside_v1, compile_upstreams


class Loaded(Struct, frozen=True):
    """Settings in force, and how they came about."""

    snapshot: Snapshot
    settings: SettingsFile
    origins: Mapping[Path, Origin]
    notes: tuple[str, ...]


def load(config: FilePath | None, environment: Mapping[str, str], flags: Flags | None = None) -> Snapshot:
    """The settings in force. SettingsError holds every finding; then the settings before stay in force."""
    return load_whole(config, environment, flags).snapshot


def load_whole(config: FilePath | None, variables: Mapping[str, str], flags: Flags | None = None) -> Loaded:
    """As `load`, with the origin of every value."""
    found = environment.read(variables)
    config = config if config is not None else FilePath(found.config) if found.config else None
    findings = list(found.findings)
    file = _read_file(config, findings)
    tiers, notes = _routing(found.tiers, file)
    layers = [tiers, found.general, file, (flags or Flags()).layer()]
    whole = lay(layers)
    report = Report(str(config) if config is not None else "environment", whole.origins, findings)
    secrets = dict(found.secrets) if tiers is found.tiers else {}
    working = FilePath.cwd()
    base = Base(str(config), (working / config).parent if config is not None else working, working)
    check_spelling(working / config if config is not None else working, (), report)
    settings = validate(SettingsFile, whole.tree, report)
    if settings is None:
        _judge_the_rest(whole.tree, base, secrets, report)
        raise SettingsError(report.in_order())
    _check_secrets(secrets, report)
    snapshot = compile_snapshot(settings, base, secrets, report)
    if report.findings:
        raise SettingsError(report.in_order())
    source = str(config) if config is not None else "environment" if tiers is found.tiers else "defaults"
    notes += (*asked_beside_v1(snapshot.policy.upstreams), *ends_soon(snapshot.front))
    files = (*((str(working / config),) if config is not None else ()), *snapshot.files)
    return Loaded(replace(snapshot, source=source, files=files), settings, whole.origins, notes)


def _read_file(config: FilePath | None, findings: list[Finding]) -> Layer:
    if config is None:
        return Layer({}, {})
    read = document.parse(read_text(config), str(config))
    findings.extend(read.findings)
    if not isinstance(read.tree, dict):
        place = read.origins.get((), Origin(str(config), 1, 1))
        message, hint = "the file must hold keys and values at its top", "begin with 'version: 1'"
        findings.append(Finding(place.file, place.line, place.column, "", message, hint))
        raise SettingsError(tuple(findings))
    return Layer(read.tree, read.origins)


def _routing(from_environment: Layer, file: Layer) -> tuple[Layer, tuple[str, ...]]:
    """Who says which upstreams there are, and what the operator should know of it."""
    if names_upstreams(file):
        ignored = from_environment.tree != {}
        note = "the file lists its own upstreams: CUSTOM_LLM_* and TIERn_* of the environment are not used"
        return Layer({}, {}), (note,) if ignored else ()
    if names_upstreams(from_environment):
        return from_environment, ()
    return EMBEDDED_ALONE, ()


def _judge_the_rest(tree: dict[str, Any], base: Base, secrets: dict[str, str], report: Report) -> None:
    """Where the shape is wrong somewhere, still tell every mistake that is not just a consequence of it."""
    salvaged = salvage(tree)
    if salvaged is None or not salvaged.whole:
        _judge_destinations(tree, report)
        return
    rest = Report(report.file, report.origins)
    compile_snapshot(salvaged.settings, base, secrets, rest)
    report.findings.extend(finding for finding in rest.findings if not salvaged.is_consequence(finding))


def _judge_destinations(tree: dict[str, Any], report: Report) -> None:
    """Where the shape is wrong somewhere, still tell what is wrong with every upstream whose own shape is right."""
    upstreams = tree.get("upstreams")
    engines = tree.get("engines")
    if not isinstance(upstreams, dict):
        return
    unheard = Report(report.file, {})
    shaped = {name: validate(UpstreamSettings, entry, unheard) for name, entry in upstreams.items()}
    sound = {name: entry for name, entry in shaped.items() if entry is not None}
    known = dict.fromkeys(engines, EngineEntry()) if isinstance(engines, dict) else {}
    compile_upstreams(SettingsFile(upstreams=sound, engines=known), report)


def _check_secrets(secrets: Mapping[str, str], report: Report) -> None:
    for name, token in secrets.items():
        if not is_token(token):
            report.add(("upstreams", name), "its API key has a blank or a character outside printable ASCII")
