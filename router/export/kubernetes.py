"""Kubernetes: a NetworkPolicy (addresses only) and a CiliumNetworkPolicy (names too). Egress of the service's pods."""

from __future__ import annotations

from typing import Any

import yaml

from router.export.fence import Fence, Opening

_DNS_PODS = {"k8s-app": "kube-dns"}


def networkpolicy(fence: Fence, label: str) -> str:
    """No effect without a network plug-in that enforces it. `label`: KEY=VALUE of the service's pods."""
    rules: list[dict[str, Any]] = [
        {"to": [{"ipBlock": {"cidr": str(block)}} for block in blocks], "ports": [{"protocol": "TCP", "port": port}]}
        for port, blocks in fence.ports().items()
    ]
    if fence.names:
        peer = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": _DNS_PODS},
        }
        ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        rules.insert(0, {"to": [peer], "ports": ports})
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "ringfence-egress"},
        "spec": {"podSelector": {"matchLabels": _labels(label)}, "policyTypes": ["Egress"], "egress": rules},
    }
    return _written("networkpolicy", fence, document)


def cilium(fence: Fence, label: str) -> str:
    """Names by `toFQDNs`, everything else by block; DNS answers for the listed names alone."""
    document = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "ringfence-egress"},
        "spec": {
            "endpointSelector": {"matchLabels": _labels(label)},
            "egress": [*_dns(fence), *(_cilium_rule(opening) for opening in fence.openings)] or [{}],
        },
    }
    return _written("cilium", fence, document)


def _dns(fence: Fence) -> list[dict[str, Any]]:
    if not fence.names:
        return []
    selector = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", **_DNS_PODS}}
    rules = {"dns": [{"matchName": name} for name in fence.names]}
    return [{"toEndpoints": [selector], "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": rules}]}]


def _cilium_rule(opening: Opening) -> dict[str, Any]:
    ports = [{"ports": [{"port": str(opening.port), "protocol": "TCP"}]}]
    if opening.wide:
        return {"toFQDNs": [{"matchName": opening.name}], "toPorts": ports}
    return {"toCIDR": [str(block) for block in opening.blocks], "toPorts": ports}


def _labels(label: str) -> dict[str, str]:
    key, _, value = label.partition("=")
    return {key: value}


def _written(form: str, fence: Fence, document: dict[str, Any]) -> str:
    notes = fence.notes if form == "networkpolicy" else ()  # Cilium follows the names themselves
    head = [
        f"# Written by `ringfence export {form}` from policy {fence.digest}.",
        *(f"# NOTE {note}" for note in notes),
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(document, sort_keys=False)
