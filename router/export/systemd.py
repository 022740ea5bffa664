"""A systemd drop-in: the cgroup's packet filter by address. It knows no ports, and counts clients as well."""

from __future__ import annotations

from collections.abc import Sequence

from router.export.fence import Fence, collapsed


def systemd(fence: Fence, nameservers: Sequence[str], clients: Sequence[str]) -> str:
    """For /etc/systemd/system/ringfence.service.d/fence.conf. `clients`: blocks that may call the service."""
    allowed = [str(block) for block in collapsed(block for opening in fence.openings for block in opening.blocks)]
    asked = list(nameservers) if fence.names else []
    lines = [
        f"# Written by `ringfence export systemd` from policy {fence.digest}.",
        "# The filter is by address, both ways: clients must be named too, and ports are not held here.",
        *(f"# NOTE {note}" for note in fence.notes),
        "[Service]",
        "IPAddressAllow=",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        *(f"IPAddressAllow={block}" for block in (*allowed, *asked, *clients)),
        "RestrictAddressFamilies=",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "SocketBindDeny=any",
        f"SocketBindAllow=tcp:{fence.listen_port}",
    ]
    return "\n".join(lines) + "\n"
