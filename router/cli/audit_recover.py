"""`ringfence audit recover`: what an operator does when the service refuses to start on its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.audit import LedgerSettings
from router.audit.recover import diagnose
from router.audit.recover import recover as go_on
from router.audit.verify.__main__ import ledger_directory
from router.cli.audit_options import Directory
from router.cli.audit_review import Reason, told

REFUSES = 1


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
        root = ledger_directory(directory).absolute()
        found = diagnose(root)
        if not found.trouble:
            typer.echo(f"{root}: the service would start here; there is nothing to recover")
            return
        typer.echo(found.trouble)
        if not accept_loss:
            raise typer.Exit(REFUSES)
        aside = go_on(LedgerSettings(root), found, reason)
    typer.echo(
        f"{aside}: the old log, whole, for the reviewer.\n"
        f"{root}: a new log, whose recovery_gap says what was given up. It has another key: note the line in log.vkey."
    )
