"""The HTTP reference names every route and every header of ours, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from policies import Endpoint
from router.api.admin import Admin
from router.api.narrow import Narrow
from router.api.older import OLDER, RANKING
from router.api.status import Status
from router.channel.client import GateClient
from router.channel.steering import Steering
from router.settings.load import load
from router.view import View

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()


def routes_of_operations() -> list[Route]:
    snapshot, gate = load(None, {}), GateClient()
    view, steering = View(), Steering(lambda _: None)
    return [
        *Status(snapshot, gate, view).routes(),
        *Admin(snapshot, gate, view).routes(),
        *Narrow(snapshot, view, steering).routes(),
    ]


def test_every_word_for_an_endpoint_in_the_ledger_is_told_and_no_other() -> None:
    """They are names of functions, and stand in ledgers for ever: who renames one is stopped here."""
    page = (ROOT / "docs" / "ledger-format.md").read_text()
    told = page.partition("endpoint its word:")[2].partition(".\n")[0]
    words = {route.endpoint.__name__ for route in routes_of_operations()} - {"root", "livez", "health"}  # ask nobody
    assert set(re.findall(r"`(\w+)`", told)) == words


def test_every_route_is_told() -> None:
    routes = routes_of_operations()
    served = {route.path.replace(":path", "").replace(":int", "") for route in routes} | {
        f"/v1/{endpoint}" for endpoint in Endpoint
    }
    served |= {*OLDER.values(), *(path.decode() for path in RANKING)}
    table = PAGE.partition("## Endpoints")[2].partition("\n##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = {path for cell in cells for path in re.findall(r"`(/[^`]*)`", cell)}
    assert told == served


def test_every_header_of_ours_is_told() -> None:
    sent = set()
    for path in (ROOT / "router").rglob("*.py"):
        sent |= {
            name.lower() for name in re.findall(r"x-(?:ringfence|request)-[a-z]+", path.read_text(), re.IGNORECASE)
        }
    told = {name.lower() for name in re.findall(r"X-(?:Ringfence|Request)-[A-Za-z]+", PAGE)}
    assert told == sent
