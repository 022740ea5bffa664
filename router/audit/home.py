"""A ledger's directory: its lock, its keys, its small files. Every file is 0600, every directory 0700."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from router.audit.cosigner import Cosigner
from router.audit.errors import LedgerError, what_now
from router.audit.format import layout
from router.audit.format.notes import Checkpoint, NoteError, Signer, parse_vkey
from router.audit.format.seal import ReviewerPublic, ReviewerSecret, parse_public
from router.audit.format.segments import read_small
from router.audit.format.tree import empty_root
from router.audit.lock import take_lock

T = TypeVar("T")
OFFLINE = "offline"
ON_THIS_MACHINE = "on_this_machine"
_REMARK = """# The reviewer's secret key of this ledger. It was made at the first start, because none was given.
# Move it to the reviewer's machine: who has it can read and forge the MACs of these records.
"""


def sync_directory(path: Path) -> None:
    """Make names durable that were created, renamed or removed in `path`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """A write may take only some."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with `data`, durably, all or nothing: written aside, synced, renamed, the directory synced."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)  # of a crash; a pipe or a link that was put there is not written to
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.rename(path)
    sync_directory(path.parent)


class Home(Struct, frozen=True):
    """An open, locked ledger directory."""

    directory: Path
    lock: int  # descriptor; closing it gives the lock back
    log: str
    signer: Signer
    reviewer: ReviewerPublic
    cosigner: Cosigner | None = None

    @property
    def custody(self) -> str:
        """Where the reviewer's secret key lies, as far as we see."""
        return ON_THIS_MACHINE if (self.directory / layout.REVIEWER_SECRET).exists() else OFFLINE

    def path(self, name: str) -> Path:
        return self.directory / name

    def note(self, checkpoint: Checkpoint) -> bytes:
        """The checkpoint, signed by all keys."""
        note = self.signer.note(checkpoint.text())
        if self.cosigner is not None:
            note += self.cosigner.line(checkpoint, int(time.time()))
        return note.encode()

    def close(self) -> None:
        os.close(self.lock)


def open_home(
    directory: Path, log_name: str, *, ml_dsa: bool = False, make_keys: bool = True, lock: int | None = None
) -> Home:
    """Make or enter the directory, take its lock, make or read its keys. `lock`: it was entered already. LedgerError if
    that cannot be done; the lock is given back then.
    """
    lock = enter(directory) if lock is None else lock
    try:
        if make_keys and not (directory / layout.VKEY).exists():
            _make_keys(directory, log_name)
        home = _read_keys(directory, lock)
        return _with_cosigner(home) if ml_dsa else home
    except (OSError, ValueError) as error:
        os.close(lock)
        raise LedgerError(f"the keys in {directory} cannot be used: {error}. {what_now(directory)}") from error
    except LedgerError:
        os.close(lock)
        raise


def enter(directory: Path) -> int:
    """Make the directory if there is none, and take its lock. LedgerError: that cannot be done."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / layout.SEGMENTS).mkdir(mode=0o700, exist_ok=True)
        return take_lock(directory / layout.LOCK)
    except OSError as error:
        raise LedgerError(f"the ledger directory {directory} cannot be used: {error.strerror}") from error


def _make_keys(directory: Path, log_name: str) -> None:
    """A first start. log.vkey comes last: where it exists, the other files do."""
    if any((directory / layout.SEGMENTS).iterdir()):
        raise LedgerError(f"{directory} holds records but no {layout.VKEY}. {what_now(directory)}")
    signer = Signer(layout.origin(log_name, secrets.token_hex(16)), seed := secrets.token_bytes(32))
    write_new(directory / layout.SIGNING_KEY, seed)
    if not (directory / layout.REVIEWER_PUBLIC).exists():
        reviewer = ReviewerSecret.generate()
        write_new(directory / layout.REVIEWER_SECRET, (_REMARK + reviewer.text() + "\n").encode())
        write_new(directory / layout.REVIEWER_PUBLIC, (reviewer.public.text() + "\n").encode())
    nothing = Checkpoint(signer.verifier.name, 0, empty_root())
    write_new(directory / layout.CHECKPOINT, signer.note(nothing.text()).encode())
    write_new(directory / layout.VKEY, (signer.verifier.text() + "\n").encode())


def _with_cosigner(home: Home) -> Home:
    """The second pair, made when it is first asked for; its public half is written last."""
    if not home.path(layout.COSIGNER_VKEY).exists():
        write_new(home.path(layout.COSIGNER_KEY), secrets.token_bytes(32))
    cosigner = _parsed(home.path(layout.COSIGNER_KEY), partial(Cosigner, home.signer.verifier.name))
    if not home.path(layout.COSIGNER_VKEY).exists():
        write_new(home.path(layout.COSIGNER_VKEY), (cosigner.verifier.text() + "\n").encode())
    return replace(home, cosigner=cosigner)


def _read_keys(directory: Path, lock: int) -> Home:
    stated = _parsed(directory / layout.VKEY, lambda data: parse_vkey(data.decode()))
    signer = _parsed(directory / layout.SIGNING_KEY, lambda seed: Signer(stated.name, seed))
    if signer.verifier != stated:
        raise NoteError(f"{layout.SIGNING_KEY} is not the key that {layout.VKEY} states")
    reviewer = _parsed(directory / layout.REVIEWER_PUBLIC, lambda data: parse_public(data.decode()))
    return Home(directory, lock, layout.log_of(stated.name), signer, reviewer)


def _parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """What a key's file says; it may be a link to where secrets are kept. OSError, ValueError: naming it."""
    try:
        return parse(read_small(path, links=True))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
