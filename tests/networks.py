"""Whether this machine lets us make a network of one's own: for tests that need one."""

from __future__ import annotations

import os

import pytest

from router.seal.namespace import own_network


def possible() -> bool:
    """Tried in a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(1 if own_network() else 0)
    return os.waitpid(pid, 0)[1] == 0


NETWORKS = pytest.mark.skipif(not possible(), reason="neither root nor user namespaces: no network of its own")
