"""A decision is a value with a reason from a closed list. The words live in the ledger for ever."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from msgspec import Struct, field

from policies.facts import Reach


class Reason(StrEnum):
    """Why something was allowed or refused. Never rename one: ledgers hold them."""

    ALLOWED = "allowed"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_NOT_FOR_CALLER = "model_not_for_caller"
    REACH_EXCEEDED = "reach_exceeded"
    UPSTREAM_UNKNOWN = "upstream_unknown"
    UPSTREAM_NOT_IN_TIER = "upstream_not_in_tier"
    TIER_NOT_FOR_MODEL = "tier_not_for_model"
    CALLER_UNKNOWN = "caller_unknown"
    HOST_UNRESOLVED = "host_unresolved"
    CLOUD_PROVIDER = "cloud_provider"
    METADATA_ADDRESS = "metadata_address"
    FORBIDDEN_ADDRESS = "forbidden_address"
    ADDRESS_OUTSIDE_PIN = "address_outside_pin"
    PUBLIC_NOT_ACKNOWLEDGED = "public_not_acknowledged"
    PLAIN_HTTP_TO_PUBLIC = "plain_http_to_public"
    NOT_CANONICAL = "not_canonical"
    BODY_UNREADABLE = "body_unreadable"
    REAIMING_PARAMETER = "reaiming_parameter"
    REMOTE_CONTENT = "remote_content"
    REMOTE_SCHEMA = "remote_schema"
    HOSTED_TOOL = "hosted_tool"
    CLOUD_MODEL = "cloud_model"
    CLOUD_UPSTREAM = "cloud_upstream"
    GATEWAY_UNDECLARED = "gateway_undeclared"
    REMOTE_MODEL = "remote_model"
    AMBIGUOUS_NAME = "ambiguous_name"
    TOO_COMPLEX = "too_complex"


class Decision(Struct, frozen=True):
    """May this be done, why, and (when a request is allowed) how far and by which tiers."""

    allowed: bool
    reason: Reason
    detail: str = ""  # for the operator: names from the policy, never content
    ceiling: Reach = Reach.PROCESS
    tiers: tuple[str, ...] = field(default=())
    param: str = ""  # where in the body, for the client alone: it may hold names that the client made up

    def __bool__(self) -> NoReturn:
        raise TypeError("a Decision is not a bool: ask for .allowed")
