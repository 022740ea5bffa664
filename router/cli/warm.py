"""`ringfence warm`: ask a running service to make its tiers ready; the exit code is for cron."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from router.settings.credentials import is_token
from router.tls import client_context

BAD, UNREACHABLE = 1, 2
SLACK_S = 5.0  # for the answer, beyond the wait that was asked for
LONGEST_KEY = 4096
LOOK_S = 2.0  # how long before it tells what it waits for

Answer = tuple[int, dict[str, Any]]


def warm(
    host: Annotated[str, typer.Option(help="where the service listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="its port")] = 7860,
    tier: Annotated[str, typer.Option(help="only this tier; every tier if left out")] = "",
    wait: Annotated[float, typer.Option(help="seconds to wait for a cold one")] = 120.0,
    key_file: Annotated[Path | None, typer.Option(help="file that holds a caller's key")] = None,
    https: Annotated[bool, typer.Option("--https", help="it speaks TLS ('listen.tls')")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="TLS, by an authority of these (PEM), not the system's")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the service's own answer")] = False,
) -> None:
    """Make every tier warm, and wait for it. Exit 0: all are; 1: one is not; 2: the service cannot be asked."""
    headers = {"Authorization": f"Bearer {_key(key_file)}"} if key_file is not None else {}
    try:
        door = _Door(host, port, https or ca_file is not None, str(ca_file) if ca_file is not None else None)
        status, answer = _warmed(door, tier, wait, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        typer.echo(f"no answer from {host}:{port}: {error}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    told = "upstreams" in answer  # else an error: what is warm is not known
    typer.echo(json.dumps(answer) if as_json else _table(answer), err=not (told or as_json))
    if status != 200:
        raise typer.Exit(BAD if told else UNREACHABLE)


def _key(file: Path) -> str:
    """The key in this file, which may be a pipe (`<(…)`); exit code 2 where there is none."""
    try:
        with file.open("rb") as opened:
            key = opened.read(LONGEST_KEY + 1).decode().strip()
    except (OSError, ValueError) as error:
        typer.echo(f"{file}: cannot be read: {error}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    if not is_token(key):
        typer.echo(f"{file}: does not hold one key: one line, as 'ringfence keys create' printed it", err=True)
        raise typer.Exit(UNREACHABLE)
    return key


@dataclass(frozen=True, slots=True)
class _Door:
    """Where the service listens, and how it is spoken to there."""

    host: str
    port: int
    https: bool
    ca_file: str | None

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if not self.https:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=timeout_s, context=client_context(self.ca_file)
        )


def _warmed(door: _Door, tier: str, wait_s: float, headers: dict[str, str]) -> Answer:
    """A short wait first: whoever has to wait longer is told on standard error what for."""
    look_s = min(LOOK_S, wait_s)
    status, answer = _ask(door, f"/warm?tier={quote(tier)}&wait={look_s:g}", look_s, headers)
    if status != 503 or wait_s <= look_s or "upstreams" not in answer:
        return status, answer
    for row in answer["upstreams"]:
        if row["state"] != "ready":
            typer.echo(f"waits up to {wait_s:g} s for {row['upstream']}: {row['state']}, {row['reason']}", err=True)
    return _ask(door, f"/warm?tier={quote(tier)}&wait={wait_s - look_s:g}", wait_s, headers)


def _ask(door: _Door, path: str, wait_s: float, headers: dict[str, str]) -> Answer:
    connection = door.connection(wait_s + SLACK_S)
    try:
        connection.request("POST", path, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _table(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return str(answer["error"]["message"])
    rows = [
        f"{row['tier']:<16} {row['upstream']:<16} {row['state']:<8} {row['ms']:>7} ms  {row['reason']}"
        for row in answer["upstreams"]
    ]
    return "\n".join([*rows, answer["status"]])
