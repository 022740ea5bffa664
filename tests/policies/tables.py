"""A small policy that the decisions are tried on."""

from __future__ import annotations

from policies import Caller, Destination, ModelRule, Policy, Reach, TierRule, UpstreamRule

UPSTREAMS = {
    "embedded": UpstreamRule("embedded", Reach.PROCESS, engine="small"),
    "local": UpstreamRule("local", Reach.HOST, destination=Destination("http", "127.0.0.1", 8000, "")),
    "gpu-1": UpstreamRule("gpu-1", Reach.NETWORK, destination=Destination("http", "10.0.0.1", 8000, "")),
    "gpu-2": UpstreamRule("gpu-2", Reach.NETWORK, destination=Destination("http", "10.0.0.2", 8000, "")),
    "space": UpstreamRule("space", Reach.RENTED, destination=Destination("https", "a.hf.space", 443, "")),
}
TIERS = {
    "gpu": TierRule("gpu", ("gpu-1", "gpu-2")),
    "mixed": TierRule("mixed", ("space", "local")),
    "space": TierRule("space", ("space",)),
    "last": TierRule("last", ("embedded",)),
}
MODELS = {
    "coder": ModelRule("coder", ("gpu", "mixed", "space", "last")),
    "house": ModelRule("house", ("gpu", "space", "last"), reach=Reach.NETWORK),
    "rented": ModelRule("rented", ("space",)),
}
CALLERS = {
    "alice": Caller("alice"),
    "near": Caller("near", Reach.HOST),
    "only-house": Caller("only-house", models=frozenset({"house"})),
}
POLICY = Policy("digest", UPSTREAMS, TIERS, MODELS, "coder", CALLERS)
