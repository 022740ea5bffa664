"""Host names that mean more than a machine: the local machine, metadata services, shared fronts of rented computers."""

from __future__ import annotations

from typing import Final

_LOCAL: Final = frozenset(
    {
        "localhost",
        "localhost4",
        "localhost6",
        "localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "ip6-localnet",
        "ip6-mcastprefix",
        "ip6-allnodes",
        "ip6-allrouters",
        "broadcasthost",
    }
)
_METADATA: Final = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.platformequinix.com",
        "metadata.packet.net",
        "metadata.tencentyun.com",
        "metadata.oraclecloud.com",
        "instance-data",
        "instance-data.ec2.internal",
        "rancher-metadata",
    }
)
# Below these, strangers' programs run beside the operator's on somebody else's computers: a Space, a tunnel, a rented
# GPU. Allowed one exact name at a time, and only with `third_party_host: true`.
_SHARED_FRONTS: Final = frozenset(
    {
        "a.run.app",
        "azurecontainerapps.io",
        "azurewebsites.net",
        "baseten.co",
        "beam.cloud",
        "cfargotunnel.com",
        "cloudapp.azure.com",
        "cloudfront.net",
        "cloudspaces.litng.ai",
        "compute.amazonaws.com",
        "elb.amazonaws.com",
        "fly.dev",
        "gradio.live",
        "herokuapp.com",
        "hf.space",
        "lambda-url.us-east-1.on.aws",
        "lhr.life",
        "loca.lt",
        "modal.run",
        "ngrok-free.app",
        "ngrok-free.dev",
        "ngrok.app",
        "ngrok.dev",
        "ngrok.io",
        "on.aws",
        "onrender.com",
        "pinggy.link",
        "proxy.runpod.net",
        "railway.app",
        "run.app",
        "serveo.net",
        "trycloudflare.com",
        "ts.net",
        "vercel.app",
        "workers.dev",
    }
)


def is_local_name(host: str) -> bool:
    """Does the name stand for this machine (RFC 6761 §6.3, and what hosts files carry)?"""
    return host in _LOCAL or host.endswith((".localhost", ".localdomain"))


def is_metadata_name(host: str) -> bool:
    return host in _METADATA


def shared_front_of(host: str) -> str:
    """The domain of rented computers that the name lies under, or ""."""
    labels = host.split(".")
    parents = (".".join(labels[start:]) for start in range(len(labels)))
    return next((parent for parent in parents if parent in _SHARED_FRONTS), "")
