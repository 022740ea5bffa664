"""Decides; never acts. Values in, a Decision with a Reason out."""

from policies.address import AddressKind, kind_of, reach_of
from policies.cloud import Provider, cloud_provider_of
from policies.content import is_cloud_model, judge_body
from policies.decision import Decision, Reason
from policies.destination import DestinationError, classify_reach, parse_destination
from policies.egress import decide_egress
from policies.exchange import decide_exchange
from policies.facts import ANONYMOUS, Backend, Caller, Endpoint, Reach, RequestFacts
from policies.identity import (
    Heard,
    Identity,
    asked_by_upstream,
    judge_head,
    judge_identity,
    questions_after,
    questions_for,
)
from policies.listing import decide_listing
from policies.policy import Address, Destination, ModelRule, Policy, TierRule, UpstreamRule
from policies.request import decide_request

__all__ = [
    "ANONYMOUS",
    "Address",
    "AddressKind",
    "Backend",
    "Caller",
    "Decision",
    "Destination",
    "DestinationError",
    "Endpoint",
    "Heard",
    "Identity",
    "ModelRule",
    "Policy",
    "Provider",
    "Reach",
    "Reason",
    "RequestFacts",
    "TierRule",
    "UpstreamRule",
    "asked_by_upstream",
    "classify_reach",
    "cloud_provider_of",
    "decide_egress",
    "decide_exchange",
    "decide_listing",
    "decide_request",
    "is_cloud_model",
    "judge_body",
    "judge_head",
    "judge_identity",
    "kind_of",
    "parse_destination",
    "questions_after",
    "questions_for",
    "reach_of",
]
