"""The commands: parse, call, print. What they do stands elsewhere."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from router.cli.audit import audit_app
from router.cli.check import check
from router.cli.doctor import doctor
from router.cli.explain import explain
from router.cli.export import export
from router.cli.keys import keys_app
from router.cli.listing import WholeSentences
from router.cli.model_rows import absent
from router.cli.models import models_app
from router.cli.orders import logs, narrow, reload, stop, switch
from router.cli.prove import prove
from router.cli.warm import warm
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.load import Flags, load, load_whole
from router.supervisor.scrub import scrubbed
from router.supervisor.serve import CannotServe
from router.supervisor.serve import serve as run_service

BAD = 1

app = typer.Typer(
    name="ringfence",
    cls=WholeSentences,
    help="Your prompts reach only the machines you list, and a signed log proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: for pipes, for narrow terminals, and flags without a type
)


@app.command()
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
        for sentence in absent(loaded.snapshot):
            typer.echo(sentence, err=True)
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


app.command()(check)
app.command()(explain)
app.command()(warm)
app.command()(reload)
app.command()(narrow)
app.command()(switch)
app.command()(stop)
app.command()(logs)
app.command()(prove)
app.command()(doctor)
app.command()(export)
app.add_typer(keys_app, cls=WholeSentences, name="keys", help="Callers' keys: shown once, stored only hashed.")
app.add_typer(models_app, cls=WholeSentences, name="models", help="Model weights: fetch, list, verify, remove.")
app.add_typer(audit_app, cls=WholeSentences, name="audit", help="Verify and read the ledger.")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ringfence {version('ringfence')}")
        raise typer.Exit


@app.callback()
def ringfence(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say which version this is")
    ] = False,
) -> None:
    """Your prompts reach only the machines you list, and a signed log proves it."""


def main() -> None:
    """The console script."""
    app()
