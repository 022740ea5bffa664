"""The `ringfence` program: its own options, and its commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from router import __version__
from router.cli.commands import Commands

app = typer.Typer(
    name="ringfence",
    cls=Commands,
    help="Your prompts reach only the machines you list, and a signed log proves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: for pipes, for narrow terminals, and flags without a type
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ringfence {__version__}")
        raise typer.Exit


@app.callback()
def ringfence(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="say which version this is")
    ] = False,
) -> None:
    """Your prompts reach only the machines you list, and a signed log proves it."""
