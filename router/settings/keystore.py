"""Make and revoke callers' keys: the file is replaced whole, under a lock, so two commands at once lose nothing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Final

import yaml
from msgspec import Struct

from router.settings.callers import caller_of, read_keys
from router.settings.findings import Report, SettingsError, dotted
from router.settings.keymodel import KeyEntry
from router.settings.reading import read as reading_of

_HEADER: Final = "# Callers' keys, hashed. Written by 'ringfence keys'; reload the service to put a change in force.\n"


class CeilingConflict(Exception):
    """A caller's new key would have another ceiling than the keys that the caller has."""


class Ceiling(Struct, frozen=True):
    """What a key's caller may do; None: as the caller's other keys, or all."""

    reach: str | None = None
    models: tuple[str, ...] | None = None
    operator: bool = False


def create(file: FilePath, caller: str, ceiling: Ceiling, created: str) -> tuple[KeyEntry, str]:
    """A new key for a caller: its entry, and the key itself, which is nowhere kept.

    ValueError for a name that is none, CeilingConflict, or SettingsError when the file is not one of keys.
    """
    with _locked(file):
        keys = read(file)
        public = _fresh_id(keys)
        key = f"rf_{public}_{secrets.token_urlsafe(32)}"  # 256 random bits as 43 characters
        entry = _entry(public, key, caller, ceiling, keys, created)
        _replace(file, (*keys, entry))
    return entry, key


def revoke(file: FilePath, public: str) -> bool:
    """Forget the key of this id. False when there is none."""
    with _locked(file):
        keys = read(file)
        left = tuple(key for key in keys if key.id != public)
        if len(left) != len(keys):
            _replace(file, left)
    return len(left) != len(keys)


def read(file: FilePath) -> tuple[KeyEntry, ...]:
    """All keys; none when the file does not exist. SettingsError for a file with mistakes."""
    try:
        file.stat()  # "exists" of newer Pythons says of what is behind a closed folder that it is not there
    except FileNotFoundError:
        return ()
    report = Report(str(file), {})
    keys = read_keys(file, report)
    if report.findings:
        raise SettingsError(report.in_order())
    return keys


def _fresh_id(keys: tuple[KeyEntry, ...]) -> str:
    taken = {key.id for key in keys}
    return next(public for public in iter(lambda: secrets.token_hex(4), "") if public not in taken)


def _entry(public: str, key: str, caller: str, ceiling: Ceiling, keys: tuple[KeyEntry, ...], created: str) -> KeyEntry:
    other = next((known for known in keys if known.caller == caller), None)
    values: dict[str, object] = {"reach": ceiling.reach, "models": ceiling.models}
    if other is not None:
        values = {"reach": ceiling.reach or other.reach, "models": ceiling.models or other.models}
    hashed = hashlib.sha256(key.encode("ascii")).hexdigest()
    values |= {"id": public, "sha256": hashed, "caller": caller, "created": created, "operator": ceiling.operator}
    entry = _entry_of({name: value for name, value in values.items() if value is not None})
    if other is not None and caller_of(other) != caller_of(entry):
        raise CeilingConflict(f"'{caller}' has keys with another ceiling: revoke them first, or use another name")
    return entry


def _entry_of(values: dict[str, object]) -> KeyEntry:
    """ValueError says which of them it cannot have."""
    reading = reading_of(KeyEntry, values)
    if reading.value is None:
        raise ValueError(", ".join(f"{dotted(mistake.path)}: {mistake.sentence}" for mistake in reading.mistakes))
    return reading.value


@contextmanager
def _locked(file: FilePath) -> Iterator[None]:
    """One writer at a time: a lock on the directory, which leaves nothing behind and survives the replacement."""
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _replace(file: FilePath, keys: tuple[KeyEntry, ...]) -> None:
    """Durable or not at all: whoever reads sees the old file or the new one, mode 0600."""
    entries = [{name: _plain(value) for name, value in key.values().items() if value is not None} for key in keys]
    text = _HEADER + (yaml.safe_dump(entries, sort_keys=False) if entries else "[]\n")
    new = _temporary(file)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _temporary(file: FilePath) -> FilePath:
    return file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
