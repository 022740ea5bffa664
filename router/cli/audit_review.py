"""`ringfence audit`, continued: questions about content, exports, the report; and what the operator may destroy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from router.audit import Ledger, LedgerError, LedgerSettings
from router.audit.codec import CODEC
from router.audit.export import FORMATS, csv_header
from router.audit.report import render
from router.audit.reveal import Matcher, Opener, digest_keys, with_variants
from router.audit.show import verified_lines
from router.audit.standalone import build
from router.audit.summary import Summary
from router.audit.verify.__main__ import ledger_directory
from router.audit.verify.check import Sink, each, verify
from router.audit.verify.findings import CannotVerifyError, Report
from router.audit.verify.keys import Keys, load_keys
from router.cli.audit_options import CANNOT, Directory, Key, Notes, Vkey

Reason = Annotated[str, typer.Option("--reason", help="why, for the record")]


TAMPERED = NOT_FOUND = 1
UNTOLD = 2
LONGEST_TEXT = 1 << 28


@contextmanager
def told() -> Iterator[None]:
    """Turn what stands in the way into one sentence and exit code 3."""
    try:
        yield
    except (CannotVerifyError, LedgerError, OSError, ValueError) as error:
        typer.echo(f"cannot do that: {_sentence(error)}", err=True)
        raise typer.Exit(CANNOT) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def read(directory: Path, keys: Keys, sink: Sink) -> Report:
    """Verify, with `sink` at all records; the findings go to standard error if there are any."""
    report = verify(directory, keys, CODEC, sink)
    if report.exit_code():
        typer.echo(report.text(), err=True)
    return report


def _text(file: Path) -> bytes:
    """The whole of a file or pipe; ValueError for what no prompt is as long as."""
    with file.open("rb") as opened:
        text = opened.read(LONGEST_TEXT + 1)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"{file} is longer than {LONGEST_TEXT} bytes: name the text that is looked for")
    return text


def match(
    file: Annotated[Path, typer.Argument(help="the text, exactly as it would have been sent")],
    directory: Directory = Path("ledger"),
    *,
    key: Key = None,
    vkey: Vkey = None,
    note: Notes = None,
) -> None:
    """Did this text pass, when, to whom? Exit 0: it did; 1: it did not (or the log was tampered with); 2: the log
    cannot tell, because digest keys were erased or records are missing.
    """
    with told():
        root = ledger_directory(directory)
        keys = load_keys(root, key, vkey, tuple(note or ()))
        if keys.reviewer is None:
            raise CannotVerifyError("the reviewer's secret key is needed: give it with --key")
        log = keys.vkey.name.rpartition("/")[2]
        matcher = Matcher(digest_keys(root, log, keys.reviewer), with_variants(_text(file)))
        report = read(root, keys, matcher.see)
    if report.exit_code() == TAMPERED:
        raise typer.Exit(TAMPERED)
    for hit in matcher.hits:
        typer.echo(hit.text())
    typer.echo(matcher.verdict(), err=True)
    if matcher.hits:
        raise typer.Exit(0)
    raise typer.Exit(UNTOLD if matcher.erased or report.exit_code() else NOT_FOUND)


def open_captures(
    subject: Annotated[str, typer.Argument(help="a record's index or a request id")],
    directory: Directory = Path("ledger"),
    *,
    key: Key = None,
    vkey: Vkey = None,
    output: Annotated[Path | None, typer.Option("--out", help="write files here instead of the terminal")] = None,
) -> None:
    """Open sealed prompts and answers with the reviewer's key."""
    with told():
        root = ledger_directory(directory)
        keys = load_keys(root, key, vkey, ())
        if keys.reviewer is None:
            raise CannotVerifyError("the reviewer's secret key is needed: give it with --key")
        opener = Opener(lambda number, body: subject in (str(number), body.get("request_id")))
        if read(root, keys, each(opener.see)).exit_code() == 1:
            raise typer.Exit(1)
        log = keys.vkey.name.rpartition("/")[2]
        for number, part, text in opener.contents(root, log, keys.reviewer):
            _put(output, number, part, text)
    if not opener.found:
        typer.echo(f"no sealed content belongs to {subject}", err=True)
        raise typer.Exit(1)


def _put(output: Path | None, number: int, part: str, text: bytes | None) -> None:
    if text is None:
        typer.echo(f"record {number}: the {part} was erased", err=True)
    elif output is None:
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.flush()
    else:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        (output / f"{number}-{part}").write_bytes(text)


def export(
    directory: Directory = Path("ledger"),
    *,
    form: Annotated[str, typer.Option("--format", help="ocsf, cef or csv")] = "csv",
    key: Key = None,
    vkey: Vkey = None,
    note: Notes = None,
) -> None:
    """Verified records in another format, on standard output. Exit code as of verify; of a tampered log, none."""
    with told():
        if form not in FORMATS:
            raise CannotVerifyError(f"{form!r} is no format: use {', '.join(FORMATS)}")
        root = ledger_directory(directory)
        keys = load_keys(root, key, vkey, tuple(note or ()))
        found, lines = verified_lines(root, keys, FORMATS[form])
    for line in [csv_header()] if form == "csv" else []:
        typer.echo(line)
    for line in lines:
        typer.echo(line)
    if found.exit_code():
        typer.echo(found.text(), err=True)
    raise typer.Exit(found.exit_code())


def report(
    directory: Directory = Path("ledger"),
    *,
    output: Annotated[Path, typer.Option("--out", help="the page to write")] = Path("ledger-report.html"),
    key: Key = None,
    vkey: Vkey = None,
    note: Notes = None,
) -> None:
    """One HTML page that answers an examiner's questions. Exit code as of verify."""
    summary = Summary()
    with told():
        root = ledger_directory(directory)
        found = read(root, load_keys(root, key, vkey, tuple(note or ())), each(summary.see))
        output.write_text(render(found, summary))
    typer.echo(f"{output}: {found.verdict()}, {found.records} records")
    raise typer.Exit(found.exit_code())


def erase(
    day: Annotated[str, typer.Argument(help="the day, as 2026-11-21 (UTC)")],
    directory: Directory = Path("ledger"),
    *,
    reason: Reason = "asked_for",
) -> None:
    """Destroy a day's digest keys and sealed content; the log still verifies. Stop the service first."""
    with told():
        ledger = Ledger.open(LedgerSettings(ledger_directory(directory)))
        try:
            count = ledger.erase(day, reason)
        finally:
            ledger.close()
    typer.echo(f"{count} files of {day} destroyed")


def prune(
    before: Annotated[int, typer.Argument(help="records below this index may go, in whole segments")],
    directory: Directory = Path("ledger"),
    *,
    reason: Reason = "retention",
) -> None:
    """Remove old segments; their hashes stay, so later proofs still verify. Stop the service first."""
    with told():
        ledger = Ledger.open(LedgerSettings(ledger_directory(directory)))
        try:
            count = ledger.prune(before, reason)
        finally:
            ledger.close()
    typer.echo(f"{count} segments removed")


def standalone(
    output: Annotated[Path, typer.Option("--out", help="the file to write")] = Path("ringfence-verify.pyz"),
) -> None:
    """Write the verifier as one file, for a machine with nothing but Python and `cryptography`."""
    with told():
        output.write_bytes(build())
        if output.is_file():  # /dev/stdout is none of ours
            output.chmod(0o755)
    typer.echo(f"{output}: copy it with the ledger, then: python3 {output.name} LEDGER --key reviewer.key")
