"""ringfence serve: settings in, the service runs until a signal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from router.cli.model_rows import absent
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import Flags, load, load_whole
from router.supervisor.scrub import scrubbed
from router.supervisor.serve import CannotServe
from router.supervisor.serve import serve as run_service

BAD = 1


def serve(
    config: Annotated[Path | None, typer.Option(help="the tier policy file; the environment alone is enough")] = None,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes")] = None,
) -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    environment = current()
    flags = Flags(host, port, workers)
    try:
        loaded = load_whole(config, environment, flags)
        for note in loaded.notes:
            typer.echo(f"note: {note}", err=True)
        missing = absent(loaded.snapshot)
        for sentence in missing:
            typer.echo(sentence, err=True)
        if missing:
            raise typer.Exit(BAD)
        run_service(loaded.snapshot, scrubbed(environment), typer.echo, partial(load, config, environment, flags))
    except SettingsError as error:
        for finding in error.findings:
            typer.echo(str(finding), err=True)
        typer.echo("Nothing was started: the settings above must be right first.", err=True)
        raise typer.Exit(BAD) from None
    except CannotServe as error:
        typer.echo(f"ringfence: {error}", err=True)
        raise typer.Exit(BAD) from None
