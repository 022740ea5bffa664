"""Verdicts that depend on names alone, remembered for as long as their policy is in force: a reload begins anew."""

from __future__ import annotations

from policies import (
    Caller,
    Decision,
    ModelRule,
    Policy,
    Reach,
    RequestFacts,
    decide_exchange,
    decide_request,
    tiers_within,
)

MOST = 4096  # verdicts remembered; then all are forgotten, so that no client can fill the memory


class Verdicts:
    """Asks `policies` once for each question. Only of models that exist: a client can make up any number of others.

    A question is the endpoint, the model, the client's ceiling and the caller; sizes and `stream` are not asked about.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._requests: dict[tuple[object, ...], Decision] = {}
        self._exchanges: dict[tuple[object, ...], Decision] = {}
        self._tiers: dict[tuple[str, Reach], tuple[str, ...]] = {}

    def request(self, facts: RequestFacts, caller: Caller) -> Decision:
        """As decide_request."""
        key = (facts.endpoint, facts.model, facts.reach, caller.name)
        found = self._requests.get(key)
        if found is None:
            found = decide_request(_of_names(facts), caller, self._policy, self._within)
            self._remember(self._requests, facts.model, key, found)
        return found

    def exchange(self, facts: RequestFacts, caller: str, tier: str, upstream: str) -> Decision:
        """As decide_exchange."""
        key = (facts.endpoint, facts.model, facts.reach, caller, tier, upstream)
        found = self._exchanges.get(key)
        if found is None:
            found = decide_exchange(_of_names(facts), caller, tier, upstream, self._policy, self._within)
            self._remember(self._exchanges, facts.model, key, found)
        return found

    def _within(self, model: ModelRule, ceiling: Reach, policy: Policy) -> tuple[str, ...]:
        """As tiers_within: the same for every caller, so a model of many tiers is looked through once a ceiling."""
        found = self._tiers.get((model.name, ceiling))
        if found is None:
            found = self._tiers[model.name, ceiling] = tiers_within(model, ceiling, policy)
        return found

    def _remember(
        self, table: dict[tuple[object, ...], Decision], model: str, key: tuple[object, ...], found: Decision
    ) -> None:
        if model and model not in self._policy.models:
            return
        if len(table) >= MOST:
            table.clear()
        table[key] = found


def _of_names(facts: RequestFacts) -> RequestFacts:
    """The facts of a question, so that a verdict cannot depend on what is not in its key."""
    return RequestFacts(facts.endpoint, facts.model, reach=facts.reach)
