"""`ringfence warm`: ask a running service to make its tiers ready; the exit code is for cron."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

BAD, UNREACHABLE = 1, 2
SLACK_S = 5.0  # for the answer, beyond the wait that was asked for


def warm(
    host: Annotated[str, typer.Option(help="where the service listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="its port")] = 7860,
    tier: Annotated[str, typer.Option(help="only this tier; every tier if left out")] = "",
    wait: Annotated[float, typer.Option(help="seconds to wait for a cold one")] = 120.0,
    key_file: Annotated[Path | None, typer.Option(help="file that holds a caller's key")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the service's own answer")] = False,
) -> None:
    """Make every tier warm: exit 0 if each has a warm upstream, 1 if not, 2 if the service cannot be asked."""
    try:
        status, answer = _ask(host, port, f"/warm?tier={quote(tier)}&wait={wait:g}", wait + SLACK_S, key_file)
    except (OSError, http.client.HTTPException, ValueError) as error:
        typer.echo(f"no answer from {host}:{port}: {error}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(json.dumps(answer) if as_json else _table(answer))
    if status != 200:
        raise typer.Exit(BAD)


def _ask(host: str, port: int, path: str, timeout_s: float, key_file: Path | None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key_file.read_text().strip()}"} if key_file is not None else {}
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
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
