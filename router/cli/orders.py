"""`ringfence reload`, `narrow`: orders to the service that runs on this machine; what came of it comes back here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policies import Reach
from router.settings.environment import current
from router.settings.findings import SettingsError
from router.settings.locate import ledger_directory
from router.supervisor.orders import NoService, Order, ask, homes
from router.supervisor.output import tail

BAD, UNREACHABLE = 1, 2
RELOADED_WITHIN_S = 60.0
SWITCHED_WITHIN_S = 660.0
REACHES = [reach.word for reach in Reach]

Config = Annotated[Path | None, typer.Option("--config", help="the service's policy file: it says where its ledger is")]
LedgerOption = Annotated[Path | None, typer.Option("--ledger", help="its ledger, instead of --config")]


def reload(
    config: Config = None,
    ledger: LedgerOption = None,
    lift: Annotated[bool, typer.Option("--lift", help="give back what 'ringfence narrow' took away")] = False,
) -> None:
    """Let the running service read its settings again. Exit 0: taken; 1: refused, the old stay; 2: no service."""
    order(Order("lift" if lift else "reload"), config, ledger, RELOADED_WITHIN_S)


def narrow(
    without: Annotated[
        list[str] | None, typer.Option(help="an upstream that is not to be used; may be repeated")
    ] = None,
    reach: Annotated[str, typer.Option(help="no prompt goes further: process, host, network")] = "",
    config: Config = None,
    ledger: LedgerOption = None,
) -> None:
    """Take upstreams or reach away from the running service, until 'ringfence reload --lift' or its end."""
    if not without and not reach:
        typer.echo("say what to take away: --without NAME, --reach WORD", err=True)
        raise typer.Exit(UNREACHABLE)
    order(Order("narrow", without=tuple(without or ()), reach=reach), config, ledger, RELOADED_WITHIN_S)


def switch(
    model: Annotated[str, typer.Argument(help="a model, or an upstream with a 'command'")],
    config: Config = None,
    ledger: LedgerOption = None,
) -> None:
    """Load this model now; what holds its card finishes and gives way. Exit 0: it answers; 1: not; 2: no service."""
    order(Order("switch", name=model), config, ledger, SWITCHED_WITHIN_S)


def stop(
    name: Annotated[str, typer.Argument(help="an upstream with a 'command'; all of them if left out")] = "",
    config: Config = None,
    ledger: LedgerOption = None,
) -> None:
    """Stop a model's program when what runs is finished; the next request starts it again."""
    order(Order("stop", name=name), config, ledger, SWITCHED_WITHIN_S)


def logs(
    name: Annotated[str, typer.Argument(help="an upstream with a 'command'")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="so many of the last lines")] = 100,
    config: Config = None,
    ledger: LedgerOption = None,
) -> None:
    """Print the last lines that a model's program wrote. They may hold what clients asked, if it was told to log so."""
    directory = _ledger(config, ledger)
    file = homes(directory) / f"{Path(name).name}.log"
    try:
        kept = tail(file, lines)
    except FileNotFoundError:
        there = ", ".join(sorted(one.stem for one in file.parent.glob("*.log"))) or "none"
        typer.echo(f"no program '{name}' has written anything below {file.parent} (there: {there})", err=True)
        raise typer.Exit(UNREACHABLE) from None
    except OSError as error:
        typer.echo(f"{file}: {error.strerror}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo("\n".join(kept))


def _ledger(config: Path | None, ledger: Path | None) -> Path:
    """Where the service's ledger is; exit code 2 where the file that should say so cannot be read."""
    try:
        return ledger.absolute() if ledger is not None else ledger_directory(config, current())
    except SettingsError as error:
        typer.echo(f"{error}\nname the service's policy file, or its ledger with --ledger", err=True)
        raise typer.Exit(UNREACHABLE) from None


def order(given: Order, config: Path | None, ledger: Path | None, wait_s: float) -> None:
    """Give it, print the answer, and end with its exit code."""
    directory = _ledger(config, ledger)
    try:
        told = ask(directory, given, wait_s)
    except (NoService, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(told.text, err=not told.good)
    if not told.good:
        raise typer.Exit(BAD)
