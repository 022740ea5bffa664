"""`python tests/seal/container.py COMMAND …`: become COMMAND as in a container of Docker's defaults.

Fourteen capabilities for root and none for others, no new namespace, and none of the calls that its filter keeps from
who lacks CAP_SYS_ADMIN (moby's profiles/seccomp/default.json). What a container adds beside that (mounts, cgroups, a
network of its own) takes nothing from a seal.
"""

from __future__ import annotations

import os
import sys

from router.seal.filter import Rules, Where, assemble, install
from router.seal.machine import this_machine
from router.seal.process import drop_capabilities

CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
NEW_NAMESPACES = 0x7E020000  # CLONE_NEW*
HIDDEN = frozenset(
    {
        "unshare", "setns", "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig",
        "pivot_root", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "kexec_load",
        "kexec_file_load", "init_module", "finit_module", "delete_module", "open_by_handle_at", "io_uring_setup",
        "io_uring_enter", "io_uring_register", "reboot",
    }
)  # fmt: skip


def main() -> None:
    drop_capabilities(() if os.geteuid() else CAPABILITIES)
    rules = Rules(
        when={"clone": ((Where(0, 0, mask=NEW_NAMESPACES),),)},
        deny=HIDDEN,
        unknown=frozenset({"clone3"}),
        default=None,
    )
    install(assemble(rules, this_machine()))
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
