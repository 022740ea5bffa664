"""What operators see and do: the states of all upstreams, "probe now", and metrics."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from router.api.answers import Sent, as_json, gate_lost
from router.api.leaving import unless_left
from router.auth import Callers
from router.channel.client import GateClient
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Look
from router.errors import UpstreamUnknown
from router.settings.snapshot import Snapshot
from router.view import View

PROBE_WAIT_S = 15.0
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
CERTIFICATE = b"ringfence_listener_certificate_expiry_timestamp_seconds"


class Admin:
    """The operators' endpoints over one snapshot. Nothing here can widen what the policy allows."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View) -> None:
        self._snapshot = snapshot
        self._gate = gate
        self._view = view
        self._callers = Callers(snapshot)

    def routes(self) -> list[Route]:
        return [
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/admin/upstreams", self.upstreams, methods=["GET"]),
            Route("/admin/upstreams/{upstream}", self.upstream, methods=["GET"]),
            Route("/admin/upstreams/{upstream}/probe", self.probe, methods=["POST"]),
        ]

    async def metrics(self, request: Request) -> Sent:
        """Without keys (loopback only) for everybody on this machine, as /health is."""
        if not self._snapshot.policy.any_caller:
            self._operator(request)
        try:
            text = await self._gate.metrics().answered()
        except ExchangeFailed:
            raise gate_lost() from None
        return Sent(text + self._listener(), kind=EXPOSITION)

    def _listener(self) -> bytes:
        """What the gate cannot know: the listener's certificate is the workers' alone."""
        ends = self._snapshot.front.ends
        if not ends:
            return b""
        about = b"# HELP %b When the certificate of listen.tls ends, UNIX time.\n# TYPE %b gauge\n%b %d\n"
        return about % (CERTIFICATE, CERTIFICATE, CERTIFICATE, ends)

    async def upstreams(self, request: Request) -> Sent:
        self._operator(request)
        return as_json({"upstreams": await self._reports(request, Look())})

    async def upstream(self, request: Request) -> Sent:
        return as_json(await self._one(request, 0.0))

    async def probe(self, request: Request) -> Sent:
        """Look now, whatever its state, and tell what was found."""
        return as_json(await self._one(request, PROBE_WAIT_S))

    async def _one(self, request: Request, wait_s: float) -> object:
        self._operator(request)
        name = request.path_params["upstream"]
        if name not in self._snapshot.policy.upstreams:
            raise UpstreamUnknown("There is no such upstream.", param="upstream")
        return next(iter(await self._reports(request, Look(name, wait_s))), {})

    async def _reports(self, request: Request, look: Look) -> list[dict[str, object]]:
        try:
            rows = await unless_left(request, self._gate.report(look).answered())
        except ExchangeFailed:
            raise gate_lost() from None
        reports: list[dict[str, object]] = msgspec.json.decode(rows or b"[]")
        tiers = self._snapshot.policy.tiers.values()
        for report in reports:
            report["tiers"] = [tier.name for tier in tiers if report["name"] in tier.upstreams]
            report["process"] = self._process(str(report["name"]))
        return reports

    def _process(self, upstream: str) -> object:
        """The process behind it, where it is one of ours: its state, and what the kernel enforces on it."""
        rule = self._snapshot.policy.upstreams[upstream]
        own = f"engine-{rule.engine}" if rule.engine is not None else f"managed-{upstream}" if rule.managed else ""
        row = next((row for row in self._view.processes if row.name == own), None)
        return msgspec.to_builtins(row) if row is not None else None

    def _operator(self, request: Request) -> None:
        self._callers.operator(request.headers.get("authorization", ""))
