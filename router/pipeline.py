"""The life of one request, in order. A newcomer reads this file first.

1 who asks · 2 read the least · 3 may it be served, how far may it travel · 4 in which order to try ·
5-7 exchange through the gate, which decides again, records, dials and relays · 8 the gate records the outcome.
A cancelled `serve` (the client left) stops the upstream's work: `Forwarder` sees to it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import msgspec

from policies import Caller, Decision, Endpoint, Reach, Reason, choose_model, judge_body, plain_name
from router.affinity import conversation
from router.auth import Callers
from router.balance import balance_of
from router.body import Inbound, read
from router.channel.client import GateClient
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Denial
from router.errors import (
    BodyTooLarge,
    GateUnavailable,
    InvalidRequest,
    ModelNotFound,
    PolicyDenied,
    RouterError,
    as_openai,
)
from router.failures import error_of
from router.forward import Forwarder
from router.reply import Headers, Reply
from router.settings.snapshot import Snapshot
from router.tiers import Attempt, Load, Planner
from router.verdicts import Verdicts

CHANNEL_WAIT_S = 3.0
PARAMETERS = frozenset({"model", "stream", "messages", "prompt", "input", "query", "documents", "X-Ringfence-Reach"})
_INSTEAD = {
    Reason.REAIMING_PARAMETER: "leave it out; where requests go is the operator's to say",
    Reason.REMOTE_CONTENT: "send it inside the request, as a data: URL",
    Reason.REMOTE_SCHEMA: "write the schema out",
    Reason.HOSTED_TOOL: "only tools of type 'function', which you run yourself, are passed on",
    Reason.CLOUD_MODEL: "ask for a model of GET /v1/models",
    Reason.AMBIGUOUS_NAME: "write each name once, in its own spelling",
    Reason.TOO_COMPLEX: "send less at once",
}
REACHES = {reach.word: reach for reach in Reach}


class Arrival(msgspec.Struct, frozen=True):
    """A request as the server hands it over."""

    endpoint: Endpoint
    request_id: str
    authorization: str
    reach: str  # X-Ringfence-Reach, "" when absent
    body: bytes
    refusal: RouterError | None = None  # of a body that was not read to its end
    caller: Caller | None = None  # whom this pipeline has authenticated already, by the head alone
    session: str = ""  # X-Session-ID, "" when absent


class Judged(msgspec.Struct, frozen=True):
    """A request after steps 1 to 4. Without a `forwarder` it is refused, for `error`."""

    arrival: Arrival
    caller: Caller | None
    inbound: Inbound | None
    forwarder: Forwarder | None
    error: RouterError | None = None


class Pipeline:
    """Requests under one snapshot; a reload makes a new one, and requests finish under the one they began with."""

    def __init__(self, snapshot: Snapshot, gate: GateClient) -> None:
        self._snapshot = snapshot
        self._gate = gate
        self._callers = Callers(snapshot)
        self.caller_of = self._callers.caller_of  # by an Authorization header; InvalidKey if it is nobody's
        self._verdicts = Verdicts(snapshot.policy)
        balances = {
            name: balance_of(snapshot.tiers[name].balance, tier.upstreams, snapshot.tiers[name].weights)
            for name, tier in snapshot.policy.tiers.items()
        }
        self._planner = Planner(snapshot.policy, balances)

    async def serve(self, arrival: Arrival, reply: Reply) -> None:
        """Answer one request, whatever it is."""
        await self.answer(self.judge(arrival), reply)

    def judge(self, arrival: Arrival) -> Judged:
        """Steps 1 to 4: what is to be tried, or why nothing is."""
        caller = arrival.caller
        inbound: Inbound | None = None
        try:
            caller = caller or self._callers.authenticate(arrival.authorization)
            if arrival.refusal is not None:
                raise arrival.refusal
            reach = narrowed(arrival.reach) if arrival.reach else None
            inbound = read(arrival.body, arrival.endpoint, arrival.request_id, reach, self._snapshot.limits)
            return Judged(arrival, caller, inbound, self._decide(inbound, caller, arrival.session))
        except RouterError as error:
            return Judged(arrival, caller, inbound, None, error)

    async def answer(self, judged: Judged, reply: Reply) -> None:
        """The other steps."""
        arrival, forwarder = judged.arrival, judged.forwarder
        if forwarder is None:
            await self._refuse(judged, judged.error or RouterError("No reason."), reply)
            return
        try:
            if not self._gate.connected and not forwarder.begun:
                await self._gate.ready(CHANNEL_WAIT_S)
            await forwarder.run(reply)
        except ExchangeFailed:
            await refuse(reply, _gate_lost(), arrival.request_id)
        except BodyTooLarge as error:  # as we would spell it: nothing was sent, so nothing is recorded yet
            await self._refuse(judged, error, reply)
        except RouterError as error:
            await refuse(reply, error, arrival.request_id, forwarder.record)

    def _model_of_ours(self, inbound: Inbound | None) -> str:
        """The model's name for the ledger, by the policy; "" for one that the client made up."""
        if inbound is None:
            return ""
        name = plain_name(inbound.facts.model, self._snapshot.policy)
        return name if name in self._snapshot.policy.models or name in self._snapshot.policy.autos else ""

    def _decide(self, inbound: Inbound, caller: Caller, session: str) -> Forwarder:
        policy, asked = self._snapshot.policy, inbound.facts.model
        if asked not in policy.models or asked in policy.autos:
            inbound = inbound.as_model(choose_model(inbound.facts, inbound.prompt, caller, policy).model)
        decision = self._verdicts.request(inbound.facts, caller)
        if not decision.allowed:
            if decision.reason in (Reason.MODEL_UNKNOWN, Reason.MODEL_NOT_FOR_CALLER):
                said = f"The model '{asked}' is not served here; see /v1/models."
                raise ModelNotFound(said, param="model", reason=decision.reason)
            raise _beyond_reach(inbound, caller)
        judged = judge_body(inbound.document)
        if not judged.allowed:
            raise _refused_content(judged)
        order = partial(self._plan, decision, inbound, caller.name, session)
        model = inbound.facts.model or policy.default_model
        return Forwarder(self._snapshot, self._gate, inbound, caller.name, model, decision.ceiling, order)

    def _plan(self, decision: Decision, inbound: Inbound, caller: str, session: str) -> Iterator[Attempt]:
        settled = self._planner.settled(
            inbound.facts.model or self._snapshot.policy.default_model, decision.ceiling, self._gate.states
        )
        if settled:
            return iter(settled)
        load = Load(self._gate.states, self._gate.loads, self._gate.busy, time.monotonic())
        key = partial(conversation, caller, session, inbound.document)
        return self._planner.plan(inbound.facts.model or self._snapshot.policy.default_model, decision, load, key)

    async def _refuse(self, judged: Judged, error: RouterError, reply: Reply) -> None:
        """A refused request of a known caller leaves a record first: no record, no answer but 503."""
        arrival, caller = judged.arrival, judged.caller
        record: int | None = None
        if caller is not None:
            reason, param = error.reason or error.code, _name_of_ours(error.param)
            model = self._model_of_ours(judged.inbound)
            denial = Denial(arrival.request_id, caller.name, model, arrival.endpoint, reason, param)
            try:
                await self._gate.ready(CHANNEL_WAIT_S)
                record = await self._gate.deny(denial).recorded()
            except ExchangeFailed as failed:
                error = error_of([failed.failure])
        await refuse(reply, error, arrival.request_id, record)


def _refused_content(judged: Decision) -> PolicyDenied:
    what = f"what '{judged.param}' asks for" if judged.param else "this body"
    message = f"The policy refuses {what}: {judged.reason}: {_INSTEAD.get(judged.reason, 'leave it out')}."
    return PolicyDenied(message, param=judged.param or None, reason=judged.reason)


def _beyond_reach(inbound: Inbound, caller: Caller) -> PolicyDenied:
    """The one refusal of `decide_request` that is none of the model's name: whose ceiling it was, and what to do."""
    narrowed_to = inbound.facts.reach
    by_client = narrowed_to is not None and narrowed_to < caller.reach
    ceiling = narrowed_to if by_client and narrowed_to is not None else caller.reach
    whose, param = ("X-Ringfence-Reach", "X-Ringfence-Reach") if by_client else ("your key", "model")
    what = "widen it, or ask for another model" if by_client else "ask for another model, or ask the operator"
    message = f"No upstream of this model lies within the reach '{ceiling.word}' that {whose} allows: {what}."
    return PolicyDenied(message, param=param, reason=Reason.REACH_EXCEEDED)


def _gate_lost() -> GateUnavailable:
    return GateUnavailable("The gate is starting again; try again.", retry_after_s=1)


def _name_of_ours(param: str | None) -> str:
    """The parameter's name for the ledger, unless the client made it up: content could hide in it."""
    return param if param in PARAMETERS else ""


def narrowed(word: str) -> Reach:
    """The client's own ceiling; InvalidRequest for a word that is none."""
    if word not in REACHES:
        raise InvalidRequest(f"X-Ringfence-Reach must be one of {', '.join(REACHES)}.", param="X-Ringfence-Reach")
    return REACHES[word]


async def refuse(reply: Reply, error: RouterError, request_id: str, record: int | None = None) -> None:
    """Answer with an error, as OpenAI's clients read it. After the first byte an event carries it instead."""
    body = as_openai(error)
    if reply.started:
        await reply.write(b"data: " + body + b"\n\n")
        await reply.finish()
        return
    await reply.whole(error.status, error_headers(error, request_id, record), body + b"\n")


def error_headers(error: RouterError, request_id: str, record: int | None) -> Headers:
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
    if record is not None:
        headers.append((b"x-ringfence-record", str(record).encode()))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
