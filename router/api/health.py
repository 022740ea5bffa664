"""`/health`: whether any tier can serve, and what is known of tiers and processes."""

from __future__ import annotations

from typing import Any

import msgspec

from router.api.answers import Sent, as_json, come_back
from router.channel.client import GateClient
from router.channel.states import State
from router.settings.snapshot import Snapshot
from router.view import View


class Health:
    """Over one snapshot and what is known of processes and upstreams."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View) -> None:
        self._snapshot = snapshot
        self._gate = gate
        self._view = view

    def answer(self) -> Sent:
        """200 once any tier can serve."""
        policy, status = self._snapshot.policy, self.status()
        ready = status == "healthy"
        rows = {
            "status": status,
            "model": policy.default_model,
            "ready": ready,
            "policy": policy.digest,
            "keys_required": not policy.any_caller,
            "tiers": {name: self._tier(tier.upstreams) for name, tier in policy.tiers.items()},
            "reload": self._view.reload,
            "processes": [msgspec.to_builtins(row) for row in self._view.processes],
        }
        return as_json(rows, 200 if ready else 503, () if ready else come_back())

    def _tier(self, upstreams: tuple[str, ...]) -> list[dict[str, Any]]:
        states = self._gate.states
        return [msgspec.to_builtins(states[name]) for name in upstreams if name in states]

    def status(self) -> str:
        """In one word."""
        if not self._gate.connected:
            return "gate_unavailable"
        if self._gate.ledger_refusal:
            return "audit_unavailable"
        states = {state.state for state in self._gate.states.values()}
        if states & {State.READY, State.COLD}:
            return "healthy"
        return "warming" if State.WARMING in states else "failing"
