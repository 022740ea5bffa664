"""`ringfence audit`: the reviewer's commands. They read a ledger's directory and nothing else of the service."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Annotated

import typer

from router.audit.codec import CODEC
from router.audit.format.notes import NoteError, parse_vkey
from router.audit.format.proofs import ProofError, parse_receipt
from router.audit.format.seal import ReviewerSecret
from router.audit.home import write_new
from router.audit.prove import prove as make_proof
from router.audit.show import Filter, Tail, parse_kind, parse_time, show_records
from router.audit.verify.__main__ import ledger_directory, run
from router.audit.verify.findings import CannotVerifyError
from router.audit.verify.keys import load_keys
from router.cli import audit_anchor, audit_recover, audit_review
from router.cli.audit_options import CANNOT, Directory, Key, Notes, Vkey
from router.cli.audit_review import told

FOLLOW_S = 0.5

audit_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
audit_app.command()(audit_review.match)
audit_app.command()(audit_anchor.anchor)
audit_app.command("open")(audit_review.open_captures)
audit_app.command()(audit_review.export)
audit_app.command()(audit_review.report)
audit_app.command()(audit_recover.recover)
audit_app.command()(audit_review.erase)
audit_app.command()(audit_review.prune)
audit_app.command()(audit_review.standalone)


@audit_app.command()
def verify(
    directory: Directory = Path("ledger"),
    key: Key = None,
    vkey: Vkey = None,
    note: Notes = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit 2 also when something could not be checked")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="so many processes; 0: one for each core")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Was anything changed, deleted, added, moved or cut? Exit: 0 intact, 1 tampered, 2 incomplete, 3 cannot tell."""
    given = {"directory": directory, "key": key, "vkey": vkey, "note": note or [], "strict": strict}
    raise typer.Exit(run(argparse.Namespace(**given, jobs=jobs, json=as_json), CODEC))


@audit_app.command()
def show(
    directory: Directory = Path("ledger"),
    *,
    key: Key = None,
    vkey: Vkey = None,
    note: Notes = None,
    kind: Annotated[str | None, typer.Option(help="only records of this kind: decision, denial …")] = None,
    caller: Annotated[str | None, typer.Option(help="only of this caller")] = None,
    model: Annotated[str | None, typer.Option(help="only for this model")] = None,
    tier: Annotated[str | None, typer.Option(help="only over this tier")] = None,
    upstream: Annotated[str | None, typer.Option(help="only to this upstream")] = None,
    reason: Annotated[str | None, typer.Option(help="only with this reason or ending")] = None,
    request_id: Annotated[str | None, typer.Option("--request-id", help="only of this request")] = None,
    since: Annotated[str | None, typer.Option(help="not before this time (ISO 8601, UTC)")] = None,
    until: Annotated[str | None, typer.Option(help="before this time (ISO 8601, UTC)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the records' own lines")] = False,
) -> None:
    """Show records, once the whole ledger is verified; of a tampered one only the findings."""
    body = {"caller": caller, "model": model, "tier": tier, "upstream": upstream, "request_id": request_id}
    wanted = {field: value for field, value in body.items() if value is not None}
    try:
        chosen = Filter(parse_kind(kind), wanted, reason, parse_time(since), parse_time(until))
        root = ledger_directory(directory)
        report, lines = show_records(root, load_keys(root, key, vkey, tuple(note or ())), chosen, as_json=as_json)
    except CannotVerifyError as error:
        typer.echo(f"cannot show: {error}", err=True)
        raise typer.Exit(CANNOT) from None
    for line in lines:
        typer.echo(line)
    code = report.exit_code()
    if code:
        typer.echo(report.text(), err=True)
    raise typer.Exit(code)


@audit_app.command()
def tail(
    directory: Directory = Path("ledger"),
    count: Annotated[int, typer.Option("-n", min=1, help="how many records")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="go on as they are written, until Ctrl-C")] = False,
) -> None:
    """The newest records as they lie there, not verified: for the operator's eye."""
    try:
        newest = Tail(ledger_directory(directory), count)
        lines = newest.first()
        while True:
            for line in lines:
                typer.echo(line)
            if not follow:
                return
            time.sleep(FOLLOW_S)
            lines = newest.again()
    except (CannotVerifyError, OSError, ValueError) as error:
        typer.echo(f"cannot read {directory}: {error}", err=True)
        raise typer.Exit(CANNOT) from None
    except KeyboardInterrupt:
        return


@audit_app.command()
def keygen(
    output: Annotated[Path, typer.Option("--out", help="directory for the two files")] = Path(),
) -> None:
    """Make the reviewer's pair: run it on the reviewer's machine, give the operator the public half only."""
    secret = ReviewerSecret.generate()
    public, private = output / "reviewer.pub", output / "reviewer.key"
    with told():
        taken = public.exists() or private.exists()
    if taken:
        typer.echo(f"{public} or {private} is there already: nothing was written", err=True)
        raise typer.Exit(CANNOT)
    with told():
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(private, f"{secret.text()}\n".encode())
        write_new(public, f"{secret.public.text()}\n".encode())
    typer.echo(
        f"{private}: keep it offline, with a copy. Without it no MAC can be checked and no sealed capture opened;\n"
        f"  who has it can do both, and could forge MACs (but not the log's signature).\n"
        f"{public}: put it into the empty ledger directory before the first start (key {secret.public.id}).\n"
        "After the first start, note on paper the line in log.vkey; later, what `ringfence audit anchor` prints."
    )


@audit_app.command()
def prove(
    index: Annotated[int, typer.Argument(min=0, help="the record, as X-Ringfence-Record told it")],
    directory: Directory = Path("ledger"),
) -> None:
    """A receipt (C2SP tlog-proof): whoever holds it can show that this record was in the log."""
    with told():
        typer.echo(make_proof(ledger_directory(directory), index).text(), nl=False)


@audit_app.command()
def receipt(
    file: Annotated[Path, typer.Argument(help="a .tlog-proof file")],
    vkey: Annotated[str, typer.Option("--vkey", help="the log's public key, text or file")],
) -> None:
    """Check a receipt, without the log. Exit 0 if the log signed for this record, 1 if not."""
    with told():
        key = parse_vkey(Path(vkey).read_text() if Path(vkey).is_file() else vkey)
        text = file.read_text()
    try:
        found = parse_receipt(text)
        found.verify(key)
    except (ProofError, NoteError) as error:
        typer.echo(f"not proven: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(found.line.decode(errors="replace"))
