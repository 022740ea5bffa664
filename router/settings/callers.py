"""The keys file: hashed keys, each with the caller it stands for and that caller's ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath

from policies import ANONYMOUS, Caller
from router.settings import document
from router.settings.files import read_text
from router.settings.findings import Origin, Path, Report
from router.settings.keymodel import KeyEntry, KeysFile
from router.settings.routing import REACHES
from router.settings.shape import validate
from router.settings.snapshot import KeyRule


def read_keys(path: FilePath, report: Report) -> tuple[KeyEntry, ...]:
    """All entries of a keys file, mistakes reported. SettingsError when the file cannot be read at all."""
    read = document.parse(read_text(path), str(path))
    report.findings.extend(read.findings)
    if not isinstance(read.tree, tuple):
        Report(str(path), read.origins, report.findings).add(
            (), "a keys file is a list", "make one with 'ringfence keys create'"
        )
        return ()
    origins: dict[Path, Origin] = {("keys", *place): origin for place, origin in read.origins.items()}
    own = Report(str(path), origins, report.findings)
    shaped = validate(KeysFile, {"keys": read.tree}, own)
    if shaped is None:
        return ()
    _check(shaped.keys, own)
    return shaped.keys


def callers_of(keys: tuple[KeyEntry, ...]) -> Mapping[str, Caller]:
    """Each caller once."""
    return {key.caller: caller_of(key) for key in keys}


def caller_of(key: KeyEntry) -> Caller:
    """Whom a key stands for."""
    return Caller(key.caller, REACHES[key.reach], frozenset(key.models) if key.models is not None else None)


def rules_of(keys: tuple[KeyEntry, ...]) -> tuple[KeyRule, ...]:
    """What the check of a key needs."""
    return tuple(KeyRule(key.id, key.sha256, key.caller, key.operator) for key in keys)


def _check(keys: tuple[KeyEntry, ...], report: Report) -> None:
    first: dict[str, KeyEntry] = {}
    ids: set[str] = set()
    for position, key in enumerate(keys):
        path: Path = ("keys", position)
        if key.id in ids:
            report.add((*path, "id"), f"two keys have the id {key.id}", "revoke one of them")
        ids.add(key.id)
        if key.caller == ANONYMOUS.name:
            report.add(
                (*path, "caller"), f"'{ANONYMOUS.name}' is who asks without a key", "give the caller another name"
            )
        other = first.setdefault(key.caller, key)
        if caller_of(other) != caller_of(key):
            message = f"the keys {other.id} and {key.id} of '{key.caller}' have different ceilings"
            report.add((*path, "caller"), message, "one caller has one ceiling: use two names")
