"""Options that all of `ringfence audit` shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

CANNOT: Final = 3
Directory = Annotated[Path, typer.Argument(metavar="DIR|FILE", help="the ledger's directory, or a file in it")]
Key = Annotated[Path | None, typer.Option("--key", help="the reviewer's secret key; else DIR/reviewer.key, if there")]
Vkey = Annotated[str | None, typer.Option("--vkey", help="the log's public key as you noted it; else DIR/log.vkey")]
Notes = Annotated[list[str] | None, typer.Option("--note", help="SIZE:ROOT from a notebook, or a saved checkpoint")]
