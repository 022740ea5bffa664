"""What no gateway here can undercut: the load without any, and the least that the design asks (bench/wire/floor.c)."""

from __future__ import annotations

import shutil

from bench.gateways.contestant import Contestant, Place, Program, output
from bench.gateways.rounds import DIRECT
from bench.gateways.wire import program


def floor(place: Place) -> Program:
    """A front for each core, as nginx has workers and Envoy threads, and one back."""
    command = [str(program("floor")), "--port", str(place.port), "--upstream", str(place.upstreams[0])]
    return Program([*command, "--ledger", str(place.directory / "records"), "--fronts", str(len(place.cores))])


def missing() -> str:
    return "" if shutil.which("cc") else "no cc: it is compiled when it is needed"


FLOOR = Contestant(
    "two-process-floor",
    floor,
    lambda: output("cc", "--version"),
    missing,
    does_tls=False,
    does_many=False,
    near=True,
)
LIMITS = (DIRECT, FLOOR.name)


def label(name: str) -> str:
    """How a table names a row: a limit is no peer."""
    return f"*{name}* (limit)" if name in LIMITS else name
