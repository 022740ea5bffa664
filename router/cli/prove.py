"""ringfence prove: drive the whole service in a network of its own, watch every packet, and sign what was seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from router.prove.stage import CannotProve, entering


def prove(
    output: Annotated[
        Path, typer.Option(help="a new directory for report.json, report.txt, the ledger and the log")
    ] = Path("proof"),
    as_json: Annotated[bool, typer.Option("--json", help="print report.json instead of report.txt")] = False,
) -> None:
    """Prove that nothing leaves but to the list. Exit 0: proved; 1: a leak or a failure; 2: cannot be tried here."""
    try:
        command = entering()
        output.mkdir(mode=0o700, parents=True, exist_ok=False)
    except CannotProve as error:
        typer.echo(f"ringfence prove: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"ringfence prove: {output}: {error.strerror}: name a new directory with --output", err=True)
        raise typer.Exit(2) from None
    inside = [sys.executable, "-I", "-m", "router.prove.inside", str(output.resolve())]
    code = subprocess.run([*command, *inside], check=False, stdin=subprocess.DEVNULL).returncode
    report = output / ("report.json" if as_json else "report.txt")
    if report.exists():
        print(report.read_text(encoding="utf-8"), end="")
    raise typer.Exit(code if code in (0, 1) else 2)
