"""The gate's own seal: what it may touch, and what the ledger keeps of every process's seal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from router.audit import MOST_NAMES, Kind, LedgerError
from router.audit.format import layout
from router.audit.home import sync_directory
from router.audit.lock import is_taken
from router.channel.control import Control
from router.continuity import Known, lost
from router.gate.recorder import Recorder
from router.gate.tls import authority_files
from router.seal.attestation import Attestation, Result
from router.seal.enclose import Plan
from router.seal.process import CAP_DAC_OVERRIDE
from router.seal.profiles import Profile
from router.seal.rooms import room_of

_AT_WORK: Final = ". Another process is at work there just now, 'audit recover' perhaps: start again once it has ended"


def enter_directory(directory: str, continues: Known | None) -> Path:
    """The ledger's directory, made if it is missing: file rules can name only what exists. LedgerError if it cannot be,
    or if the log that is to be continued is not there.
    """
    path = Path(directory)
    if missed := lost(path, continues):
        raise LedgerError(missed.text + (_AT_WORK if is_taken(path / layout.LOCK) else ""))
    try:
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(path.parent)  # the seal keeps us from it later
    except OSError as error:
        raise LedgerError(f"the ledger directory {path} cannot be used: {error.strerror}") from None
    return path


def gate_plan(directory: Path, control: Control) -> Plan:
    """It writes the ledger and nothing else. Root keeps its way past file modes only where the directory is not
    its own, as with a volume that belongs to another user.
    """
    keep = () if directory.stat().st_uid == os.geteuid() else (CAP_DAC_OVERRIDE,)
    room = room_of(Profile.GATE, read=authority_files(), write=(str(directory.resolve()),))
    return Plan(Profile.GATE, room, (control.fileno(),), keep)


def record_seal(recorder: Recorder, process: str, attestation: Attestation) -> None:
    """What was tried against this process and held, what was not stopped, the kernel that it ran on, and what could
    have run in it before: environment and path files. Lists are cut to what one record may hold.
    """
    passed = [attempt.name for attempt in attestation.attempts if attempt.result is Result.BLOCKED]
    failed = [f"{attempt.result}:{attempt.name}" for attempt in attestation.attempts if attempt.name not in passed]
    recorder.note(
        Kind.ENFORCEMENT,
        {
            "process": process,
            "level": attestation.level,
            "pid": attestation.pid,
            "seal": f"{attestation.machine}:{attestation.seal}",
            "kernel": attestation.kernel,
            "machine": attestation.machine,
            "landlock": attestation.landlock,
            "passed": passed[:MOST_NAMES],
            "failed": failed[:MOST_NAMES],
            "notes": list(attestation.notes[:MOST_NAMES]),
            "environment": list(attestation.environment[:MOST_NAMES]),
            "path_files": [f"{file.name} {file.sha256}" for file in attestation.path_files[:MOST_NAMES]],
        },
    )
