"""The closed lists of the ledger. Their words live in ledgers for ever: never rename one."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a record tells."""

    START = "start"
    STOP = "stop"
    POLICY = "policy"
    ENFORCEMENT = "enforcement"
    PROBE = "probe"
    DECISION = "decision"
    OUTCOME = "outcome"
    DENIAL = "denial"
    HEARTBEAT = "heartbeat"
    KEY_EPOCH = "key_epoch"
    CHECKPOINT = "checkpoint"
    RECOVERY_GAP = "recovery_gap"
    ERASURE = "erasure"
    RELOAD = "reload"
    ADMIN = "admin"


class Durability(StrEnum):
    """What "recorded" means, and so what a crash may cost. It is named in every `start` record."""

    STRICT = "strict"  # on the disk (fdatasync) before it is acknowledged
    GROUP = "group"  # the same, but the writer waits a few milliseconds for company
    ASYNC = "async"  # handed to the kernel: survives the death of the process, not the loss of power
