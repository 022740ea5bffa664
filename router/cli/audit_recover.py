"""`ringfence audit recover`: what an operator does when the service refuses to start on its ledger."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from router.audit import LedgerError, LedgerSettings
from router.audit.format import layout
from router.audit.home import enter
from router.audit.recover import Diagnosis, diagnose, go_on_without, records_left
from router.audit.recover import recover as go_on
from router.audit.verify.__main__ import ledger_directory
from router.cli.audit_options import Directory
from router.cli.audit_review import Reason, told
from router.continuity import Lost, keep, kept, lost, stated
from router.supervisor.orders import in_service

REFUSES = 1
_GOES_ON = "whose recovery_gap says what was given up. It has another key: note the line in log.vkey."


def recover(
    directory: Directory = Path("ledger"),
    *,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="set the old log aside and begin a new one that says so")
    ] = False,
    reason: Reason = "accepted_loss",
) -> None:
    """Why does the service refuse to start here? Exit 0 if it would start, else 1.

    Without --accept-loss nothing changes. The service must be stopped.
    """
    with told():
        root = directory.absolute()
        missing = lost(root, kept(root))
        root = root if missing else ledger_directory(directory).absolute()
        found = _diagnose(root, missing)
        if not found.trouble:
            typer.echo(f"{root}: the service would start here; there is nothing to recover")
            return
        typer.echo(found.trouble)
        if not accept_loss:
            raise typer.Exit(REFUSES)
        if in_service(root):  # it writes on where that lies now, and knows no other
            raise LedgerError(f"a service that was begun with {root} still runs: stop it first")
        typer.echo(_accept(LedgerSettings(root), found, missing, reason))


def _diagnose(root: Path, missing: Lost | None) -> Diagnosis:
    """What is wrong with what lies there comes first."""
    there = (root / layout.VKEY).exists() or missing is None
    found = diagnose(root) if there else Diagnosis("")
    if found.trouble or missing is None:
        return found
    left = records_left(root, missing.known.log) if missing.here else 0
    return Diagnosis(missing.text, missing.known.log, missing.known.signed, left)


def _accept(settings: LedgerSettings, found: Diagnosis, missing: Lost | None, reason: str) -> str:
    """Go on, and let the next start know with what: it waits, for the lock, until both are done."""
    lock = enter(settings.directory)
    try:
        text = _go_on(settings, found, missing, reason, lock)
        root = settings.directory
        if kept(root) is not None and (now := stated(root)) is not None:
            keep(root, now)
    finally:
        os.close(lock)
    return text


def _go_on(settings: LedgerSettings, found: Diagnosis, missing: Lost | None, reason: str, lock: int) -> str:
    root = settings.directory
    if missing is None or missing.here or found.trouble != missing.text:
        aside = go_on(settings, found, reason, lock)
        return f"{aside}: the old log, whole, for the reviewer.\n{root}: a new log, {_GOES_ON}"
    go_on_without(settings, found, reason, lock)
    return f"{root}: a log {_GOES_ON}"
