"""`python no_namespaces.py COMMAND …`: becomes COMMAND on a machine whose kernel allows no new namespace."""

from __future__ import annotations

import os
import sys

from router.seal.filter import Rules, assemble, install
from router.seal.machine import this_machine

if __name__ == "__main__":
    install(assemble(Rules(deny=frozenset({"unshare"}), default=None), this_machine()))
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell
