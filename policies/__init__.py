"""Decides; never acts. Values in, a Decision with a Reason out."""

from policies.address import AddressKind, kind_of, reach_of
from policies.choosing import ANY_PROVIDER, Choice, Weighed, choose_model, may_ask_for, plain_name
from policies.cloud import Provider, cloud_provider_of
from policies.content import judge_body
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
from policies.language import LANGUAGES
from policies.listing import decide_listing
from policies.parameters import is_cloud_model
from policies.policy import (
    Address,
    AutoModel,
    AutoRule,
    Condition,
    Destination,
    ModelRule,
    Policy,
    TierRule,
    UpstreamRule,
)
from policies.prompt import PromptFacts, prompt_facts
from policies.request import decide_request, tiers_within

__all__ = [
    "ANONYMOUS",
    "ANY_PROVIDER",
    "LANGUAGES",
    "Address",
    "AddressKind",
    "AutoModel",
    "AutoRule",
    "Backend",
    "Caller",
    "Choice",
    "Condition",
    "Decision",
    "Destination",
    "DestinationError",
    "Endpoint",
    "Heard",
    "Identity",
    "ModelRule",
    "Policy",
    "PromptFacts",
    "Provider",
    "Reach",
    "Reason",
    "RequestFacts",
    "TierRule",
    "UpstreamRule",
    "Weighed",
    "asked_by_upstream",
    "choose_model",
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
    "may_ask_for",
    "parse_destination",
    "plain_name",
    "prompt_facts",
    "questions_after",
    "questions_for",
    "reach_of",
    "tiers_within",
]
