"""A ledger's directory: its lock, its keys, its small files. Every file is 0600, every directory 0700."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from router.audit.cosigner import Cosigner
from router.audit.errors import LedgerError, what_now
from router.audit.format import layout
from router.audit.format.notes import Checkpoint, NoteError, Signer, parse_vkey
from router.audit.format.seal import ReviewerPublic, ReviewerSecret, SealError, parse_public
from router.audit.format.tree import empty_root

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
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
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

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Sign and replace the checkpoint file; the records under it are durable by now."""
        note = self.signer.note(checkpoint.text())
        if self.cosigner is not None:
            note += self.cosigner.line(checkpoint, int(time.time()))
        write_new(self.directory / layout.CHECKPOINT, note.encode())

    def close(self) -> None:
        os.close(self.lock)


def open_home(directory: Path, log_name: str, *, ml_dsa: bool = False, make_keys: bool = True) -> Home:
    """Make or enter the directory, take its lock, make or read its keys; LedgerError if that cannot be done."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / layout.SEGMENTS).mkdir(mode=0o700, exist_ok=True)
        lock = take_lock(directory / layout.LOCK)
    except OSError as error:
        raise LedgerError(f"the ledger directory {directory} cannot be used: {error.strerror}") from error
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


def take_lock(path: Path) -> int:
    """One writer. The lock goes with the process, however it ends; the number in the file is for people."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise LedgerError(
            f"{path.parent} is being written by process {holder or 'unknown'}: one ledger has one writer. "
            "Stop that process, or give this one another audit.directory."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


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
    cosigner = Cosigner(home.signer.verifier.name, home.path(layout.COSIGNER_KEY).read_bytes())
    if not home.path(layout.COSIGNER_VKEY).exists():
        write_new(home.path(layout.COSIGNER_VKEY), (cosigner.verifier.text() + "\n").encode())
    return replace(home, cosigner=cosigner)


def _read_keys(directory: Path, lock: int) -> Home:
    stated = parse_vkey((directory / layout.VKEY).read_text())
    signer = Signer(stated.name, (directory / layout.SIGNING_KEY).read_bytes())
    if signer.verifier != stated:
        raise NoteError(f"{layout.SIGNING_KEY} is not the key that {layout.VKEY} states")
    try:
        reviewer = parse_public((directory / layout.REVIEWER_PUBLIC).read_text())
    except SealError as error:
        raise SealError(f"{layout.REVIEWER_PUBLIC}: {error}") from None
    return Home(directory, lock, layout.log_of(stated.name), signer, reviewer)
