"""`ringfence audit anchor`: what to keep, or show, outside this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router.audit.format import layout
from router.audit.home import write_new
from router.audit.lock import is_taken
from router.audit.prove import anchor_text, read_vkey, witness_request
from router.audit.show import moment_text
from router.audit.verify.__main__ import ledger_directory
from router.channel.anchors import AnchorTold
from router.cli.audit_options import CANNOT, Directory
from router.cli.audit_review import told
from router.gate.anchoring import AnchorError, AnchorRefused, Seen
from router.gate.anchoring import anchor as dial_witness
from router.gate.dial import Dialler
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import load_whole
from router.settings.snapshot import Witness
from router.supervisor.anchoring import ANSWERED_WITHIN_S
from router.supervisor.orders import NoService, Order, ask


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
    found = _by_service(root.absolute(), witness.name) or asyncio.run(_by_ourselves(root, witness))
    if not found.note:
        typer.echo(f"not anchored: {found.trouble}", err=True)
        raise typer.Exit(1 if found.refused else CANNOT)
    if output is not None:
        write_new(output, found.note.encode())
    when = moment_text(found.moment * 1_000_000)
    typer.echo(f"{witness.name} cosigned {found.size} records at {when} UTC\n{anchor_text_of(found.note)}")


def _by_service(root: Path, witness: str) -> AnchorTold | None:
    """By the service that writes this ledger, which records it; None if none does."""
    try:
        told = ask(root, Order("anchor", name=witness), ANSWERED_WITHIN_S + 5.0)
    except NoService as error:
        silent = f"a service writes this ledger, and does not answer: {error}"
        return AnchorTold(trouble=silent) if is_taken(root / layout.LOCK) else None
    return msgspec.json.decode(told.text, type=AnchorTold) if told.good else AnchorTold(trouble=told.text)


async def _by_ourselves(root: Path, witness: Witness) -> AnchorTold:
    """Of a ledger that nobody writes, or a copy: without a record."""
    try:
        found = await dial_witness(root, witness, Dialler(root), Seen())
    except AnchorError as error:
        return AnchorTold(trouble=str(error), refused=isinstance(error, AnchorRefused))
    return AnchorTold(found.note, found.size, found.moment)


def anchor_text_of(note: str) -> str:
    """SIZE:ROOT of a checkpoint's note."""
    _, size, root = note.split("\n")[:3]
    return f"{size}:{root}"
