"""`ringfence audit anchor`: what to keep, or show, outside this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from router.audit.home import write_new
from router.audit.prove import anchor_text, read_vkey, witness_request
from router.audit.show import moment_text
from router.audit.verify.__main__ import ledger_directory
from router.cli.audit_options import CANNOT, Directory
from router.cli.audit_review import told
from router.gate.anchoring import AnchorError, AnchorRefused
from router.gate.anchoring import anchor as ask_witness
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import load_whole
from router.settings.snapshot import Witness


def anchor(
    directory: Directory = Path("ledger"),
    *,
    to: Annotated[str | None, typer.Option(help="show it to this witness of the policy file, which cosigns it")] = None,
    config: Annotated[Path | None, typer.Option(help="the tier policy file; otherwise what 'serve' would use")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="where to keep the cosigned checkpoint")] = None,
    witness: Annotated[int | None, typer.Option(help="body for a C2SP witness that knows so many records")] = None,
    syslog: Annotated[bool, typer.Option("--syslog", help="a line for a log collector")] = False,
) -> None:
    """What to keep outside this machine: SIZE:ROOT for a notebook (verify takes it with --note)."""
    with told():
        root = ledger_directory(directory)
        if to is not None:
            _show(root, _witness(to, config), output)
            return
        text = witness_request(root, witness) if witness is not None else anchor_text(root)
        typer.echo(f"ringfence-anchor {read_vkey(root).name} {text}" if syslog else text, nl=witness is None)


def _witness(name: str, config: Path | None) -> Witness:
    try:
        listed = {one.name: one for one in load_whole(config, current()).snapshot.witnesses}
    except SettingsError as error:
        raise ValueError("; ".join(str(finding) for finding in error.findings)) from None
    if name not in listed:
        known = ", ".join(sorted(listed)) or "none"
        raise ValueError(f"no witness '{name}' is listed under 'witnesses' in the policy file (listed: {known})")
    return listed[name]


def _show(root: Path, witness: Witness, output: Path | None) -> None:
    try:
        found = asyncio.run(ask_witness(root, witness))
    except AnchorError as error:
        typer.echo(f"not anchored: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, AnchorRefused) else CANNOT) from None
    if output is not None:
        write_new(output, found.note.encode())
    when = moment_text(found.moment * 1_000_000)
    typer.echo(f"{witness.name} cosigned {found.size} records at {when} UTC\n{anchor_text_of(found.note)}")


def anchor_text_of(note: str) -> str:
    """SIZE:ROOT of a checkpoint's note."""
    _, size, root = note.split("\n")[:3]
    return f"{size}:{root}"
