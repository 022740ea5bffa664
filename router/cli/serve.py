"""ringfence serve, as the library of commands knows it: its options and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.cli.serving import run
from router.settings.flags import Flags


def serve(
    config: Annotated[Path | None, typer.Option(help="the tier policy file; the environment alone is enough")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on, before the file's; else 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on, before the file's; else 7860")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes; else the CPU cores but one, at most 8")] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    raise typer.Exit(run(config, Flags(host, port, workers)))
