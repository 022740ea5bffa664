"""ringfence serve, as the library of commands knows it: its options and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.cli.serving import run
from router.settings.flags import Flags


def serve(
    config: Annotated[Path | None, typer.Option(help="the tier policy file; the environment alone is enough")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes")] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    raise typer.Exit(run(config, Flags(host, port, workers)))
