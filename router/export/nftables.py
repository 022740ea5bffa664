"""nftables: what the service's user may send, packet by packet, whether or not the service is sealed.

Known limit: a socket that root made before it became that user is not matched (meta skuid looks at the maker).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from router.export.fence import Block, Fence


def nftables(fence: Fence, user: str, nameservers: Sequence[str]) -> str:
    """A file for `nft -f`; loading it again replaces the table. `nameservers`: address literals."""
    asked = [ip_address(server) for server in nameservers] if fence.names else []
    four = [(block, port) for port, blocks in fence.ports().items() for block in blocks if block.version == 4]
    six = [(block, port) for port, blocks in fence.ports().items() for block in blocks if block.version == 6]
    lines = [
        f"# Written by `ringfence export nftables` from policy {fence.digest}.",
        *(f"# NOTE {note}" for note in fence.notes),
        "table inet ringfence",
        "delete table inet ringfence",
        "table inet ringfence {",
        *_set("upstreams4", "ipv4_addr", four),
        *_set("upstreams6", "ipv6_addr", six),
        "  counter let_out { }",
        "  counter refused { }",
        "  chain output {",
        "    type filter hook output priority filter; policy accept;",
        f'    meta skuid "{user}" goto fence',
        "  }",
        "  chain fence {",
        '    ct direction reply accept comment "answers to the service\'s own clients"',
        *(
            f"    {_family(server.version)} daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept"
            for server in asked
        ),
        "    ip daddr . tcp dport @upstreams4 counter name let_out accept",
        "    ip6 daddr . tcp dport @upstreams6 counter name let_out accept",
        "    counter name refused reject with icmpx admin-prohibited",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _set(name: str, kind: str, rows: Iterable[tuple[Block, int]]) -> list[str]:
    elements = ",\n".join(f"      {_written(block)} . {port}" for block, port in rows)
    inside = ["    elements = {", elements, "    }"] if elements else []
    return [f"  set {name} {{", f"    type {kind} . inet_service", "    flags interval", *inside, "  }"]


def _written(block: Block) -> str:
    return str(block) if block.num_addresses > 1 else str(block.network_address)


def _family(version: int) -> str:
    return "ip" if version == 4 else "ip6"
