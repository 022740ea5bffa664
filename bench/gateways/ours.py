"""Ringfence as it is measured: keys checked, the policy decided twice, every exchange on the disk before it is sent."""

from __future__ import annotations

import json
from dataclasses import replace

from bench.gateways.certificates import NAME
from bench.gateways.contestant import BIN, Contestant, Place, Program, executable, output
from router.cli.interpreter import this_interpreter
from router.settings.keystore import Ceiling, create

PROGRAM = BIN / "ringfence"


def policy(place: Place, durability: str) -> dict[str, object]:
    """The tier policy file of the bench; JSON is YAML."""
    scheme, more = (
        ("https", {"ca_file": str(place.authority), "addresses": ["127.0.0.1/32"]}) if place.tls else ("http", {})
    )
    front = place.front
    shown = {"tls": {"certificate": str(front.server), "key": str(front.key)}} if front is not None else {}
    host = NAME if place.tls else "127.0.0.1"
    names = [f"mock-{number}" for number in range(len(place.upstreams))]
    upstreams = {
        name: {"url": f"{scheme}://{host}:{port}/v1", **more} for name, port in zip(names, place.upstreams, strict=True)
    }
    return {
        "version": 1,
        "listen": {"host": "127.0.0.1", "port": place.port, "workers": "auto", **shown},
        "upstreams": upstreams,
        "hosts": {NAME: ["127.0.0.1"]} if place.tls else {},
        "tiers": [{"name": "mocks", "upstreams": names, "concurrency": 16384, "queue": 4096}],
        "models": {"bench": {"tiers": ["mocks"]}},
        "default_model": "bench",
        "callers": {"file": "keys.yaml"},
        "audit": {"directory": "./ledger", "durability": durability},
    }


def prepare(durability: str, place: Place) -> Program:
    tokens = []
    for number in range(place.keys):
        _, token = create(place.directory / "keys.yaml", f"caller-{number}", Ceiling(), "2026-01-01T00:00:00Z")
        tokens.append(token)
    file = place.directory / "tokens"
    file.write_text("\n".join(tokens) + "\n")
    (place.directory / "policy.yaml").write_text(json.dumps(policy(place, durability)))
    return Program([str(PROGRAM), "serve", "--config", "policy.yaml"], keys=file, health="/health")


def version() -> str:
    commit = output("git", "-C", str(BIN), "describe", "--always", "--dirty")
    python = this_interpreter()
    how = {True: "optimised", False: "not optimised", None: "optimised or not: unknown"}[python.optimised]
    return f"{commit}, Python {python.version} ({how})"


RINGFENCE = Contestant(
    "ringfence",
    lambda place: prepare("strict", place),
    version,
    executable(PROGRAM),
    near=True,
    does_front=True,
)
# The same without waiting for the disk: what `strict` costs is the difference.
RINGFENCE_ASYNC = replace(RINGFENCE, name="ringfence-async", prepare=lambda place: prepare("async", place))
