"""ringfence keys: create (the key is shown once), list, revoke."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from router.settings import keystore
from router.settings.findings import SettingsError
from router.settings.keymodel import KeyEntry

keys_app = typer.Typer(no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", help="the keys file")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
DEFAULT = Path("keys.yaml")


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="whom the key stands for")],
    file: File = DEFAULT,
    reach: Annotated[str | None, typer.Option(help="how far: process, host, network or rented")] = None,
    model: Annotated[list[str] | None, typer.Option(help="only this model (may be given again)")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="it opens /admin and /metrics too")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key for a caller. It is shown once; only its hash is stored."""
    ceiling = keystore.Ceiling(reach, tuple(model) if model else None, operator)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        entry, key = keystore.create(file, name, ceiling, now)
    except keystore.CeilingConflict as error:
        _stop(str(error), 1)
    except (ValueError, SettingsError, OSError) as error:
        _stop(str(error), 2)
    if as_json:
        print(json.dumps({"id": entry.id, "caller": entry.caller, "key": key, "file": str(file)}))
        return
    print(key)
    there = "" if file == DEFAULT else f" --file {shlex.quote(str(file))}"
    typer.echo(
        f"Keep it: it is not stored, only its hash is ({file}). Revoke it: ringfence keys revoke {entry.id}{there}",
        err=True,
    )


@keys_app.command("list")
def list_keys(file: File = DEFAULT, as_json: AsJson = False) -> None:
    """Show public ids, callers and ceilings. Never a key or a hash."""
    try:
        keys = keystore.read(file)
    except (SettingsError, OSError) as error:
        _stop(str(error), 2)
    if as_json:
        print(json.dumps([_shown(key) for key in keys]))
        return
    for key in keys:
        print(_row(key))
    if not keys:
        typer.echo(f"no keys in {file}: ringfence keys create NAME --file {shlex.quote(str(file))}", err=True)


@keys_app.command()
def revoke(
    public: Annotated[str, typer.Argument(metavar="ID", help="the key's public id, as 'keys list' shows it")],
    file: File = DEFAULT,
) -> None:
    """Forget a key; after a reload it opens nothing."""
    try:
        known = keystore.revoke(file, public)
    except (SettingsError, OSError) as error:
        _stop(str(error), 2)
    if not known:
        _stop(f"no key has the id {public} in {file}", 1)
    typer.echo(f"revoked {public}", err=True)


def _shown(key: KeyEntry) -> dict[str, object]:
    return {name: value for name, value in key.values().items() if name != "sha256"}


def _row(key: KeyEntry) -> str:
    models = ", ".join(key.models) if key.models is not None else "every model"
    return f"{key.id}  {key.created or '-':20}  {key.caller:24}  {key.reach:8}  {models}"


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
