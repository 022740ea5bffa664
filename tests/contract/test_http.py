"""The HTTP reference names every route and every header of ours, and no other."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_every_route_is_told() -> None:
    snapshot, gate = load(None, {}), GateClient()
    view, steering = View(), Steering(lambda _: None)
    routes = [
        *Status(snapshot, gate, view).routes(),
        *Admin(snapshot, gate, view).routes(),
        *Narrow(snapshot, view, steering).routes(),
    ]
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
