"""Decides; never acts. Values in, a Decision with a Reason out."""

from policies.decision import Decision, Reason
from policies.facts import ANONYMOUS, Backend, Caller, Endpoint, Reach, RequestFacts
from policies.policy import Address, Destination, ModelRule, Policy, TierRule, UpstreamRule

__all__ = [
    "ANONYMOUS",
    "Address",
    "Backend",
    "Caller",
    "Decision",
    "Destination",
    "Endpoint",
    "ModelRule",
    "Policy",
    "Reach",
    "Reason",
    "RequestFacts",
    "TierRule",
    "UpstreamRule",
]
